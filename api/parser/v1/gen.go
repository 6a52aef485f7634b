// Package parserv1 is the service between the engine's host and parser plugins, as protobuf
// generates it. What its records hold is plugins/wire's business.
package parserv1

//go:generate protoc -I ../../.. --go_out=../../.. --go_opt=paths=source_relative --go-grpc_out=../../.. --go-grpc_opt=paths=source_relative api/parser/v1/parser.proto
