package lab

import (
	"io"
	"log"
	"net"

	"github.com/jackc/pgx/v5/pgproto3"
)

// quietLog is for servers that log what clients do.
var quietLog = log.New(io.Discard, "", 0)

// serveDB speaks the server's side of PostgreSQL's protocol, by pgx's own codec: it
// lets everyone in and answers every query with one row.
func serveDB(h *Host) (func(), error) {
	ln, err := h.Listen(portDB)
	if err != nil {
		return nil, err
	}
	return accept(ln, func(c net.Conn) error { return session(c) }), nil
}

func session(c net.Conn) error {
	be := pgproto3.NewBackend(c, c)
	if err := startup(be, c); err != nil {
		return err
	}
	for {
		m, err := be.Receive()
		if err != nil {
			return err
		}
		switch m.(type) {
		case *pgproto3.Query:
			be.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("answer"), DataTypeOID: 25, DataTypeSize: -1, TypeModifier: -1}}})
			be.Send(&pgproto3.DataRow{Values: [][]byte{[]byte("42")}})
			be.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
			be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
			if err := be.Flush(); err != nil {
				return err
			}
		case *pgproto3.Terminate:
			return nil
		}
	}
}

func startup(be *pgproto3.Backend, c net.Conn) error {
	for {
		m, err := be.ReceiveStartupMessage()
		if err != nil {
			return err
		}
		switch m.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := c.Write([]byte("N")); err != nil {
				return err
			}
			continue
		}
		be.Send(&pgproto3.AuthenticationOk{})
		be.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "16.0 (lab)"})
		be.Send(&pgproto3.ParameterStatus{Name: "standard_conforming_strings", Value: "on"})
		be.Send(&pgproto3.ParameterStatus{Name: "client_encoding", Value: "UTF8"})
		be.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		return be.Flush()
	}
}
