// Package parserv1 is the service between the engine's host and parser plugins, as protobuf
// generates it. What its records hold is plugins/wire's business.
package parserv1

//go:generate ../../../deploy/protoc.sh api/parser/v1/parser.proto
