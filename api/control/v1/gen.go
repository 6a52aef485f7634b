// Package controlv1 is the generated code of the services between agents, controllers and
// tools of users; control.proto documents them.
package controlv1

//go:generate ../../../deploy/protoc.sh api/control/v1/control.proto
