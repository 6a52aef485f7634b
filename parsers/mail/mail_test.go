package mail_test

import (
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers/mail"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// serverFirst is the flag of parsertest.Fuzz for a server that greets.
const serverFirst = uint8(4)

func TestSMTP(t *testing.T) { parsertest.Run(t, mail.NewSMTP(), app.SMTP, "testdata/smtp") }

func FuzzSMTP(f *testing.F) {
	f.Add(uint64(1), serverFirst, []byte("EHLO a.example\r\n"), []byte("220 mx ESMTP\r\n250 ok\r\n"))
	parsertest.Fuzz(f, mail.NewSMTP(), app.SMTP)
}

func TestFTP(t *testing.T) { parsertest.Run(t, mail.NewFTP(), app.FTP, "testdata/ftp") }

func FuzzFTP(f *testing.F) {
	f.Add(uint64(1), serverFirst, []byte("USER a\r\n"), []byte("220 ready\r\n331 go on\r\n"))
	parsertest.Fuzz(f, mail.NewFTP(), app.FTP)
}

func TestIMAP(t *testing.T) { parsertest.Run(t, mail.NewIMAP(), app.IMAP, "testdata/imap") }

func FuzzIMAP(f *testing.F) {
	f.Add(uint64(1), serverFirst, []byte("a1 LOGIN u p\r\n"), []byte("* OK ready\r\n"))
	parsertest.Fuzz(f, mail.NewIMAP(), app.IMAP)
}

func TestPOP3(t *testing.T) { parsertest.Run(t, mail.NewPOP3(), app.POP3, "testdata/pop3") }

func FuzzPOP3(f *testing.F) {
	f.Add(uint64(1), serverFirst, []byte("CAPA\r\n"), []byte("+OK POP3 <1@a>\r\n"))
	parsertest.Fuzz(f, mail.NewPOP3(), app.POP3)
}

func BenchmarkSMTP(b *testing.B) { parsertest.Bench(b, mail.NewSMTP(), app.SMTP, "testdata/smtp") }
