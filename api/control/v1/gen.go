// Package controlv1 is the generated code of the services between agents, controllers and
// people's tools; control.proto says what they mean.
package controlv1

//go:generate ../../../deploy/protoc.sh api/control/v1/control.proto
