package test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/sluicenet/sluice/internal/stage/testnet"
)

// file is what is transferred.
var file = strings.Repeat("what is in the file\n", 3000)

// ftp gets the file from api, over a data connection that either end opens.
func (l *lab) ftp(family string, active bool) error {
	c, err := l.web.TryDial(family, l.api.Addr(family, 21), 3*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	r := bufio.NewReader(c)
	say := func(command string) (string, error) {
		if command != "" {
			if _, err := io.WriteString(c, command+"\r\n"); err != nil {
				return "", err
			}
		}
		return r.ReadString('\n')
	}
	for _, command := range []string{"", "USER anonymous", "PASS x", "TYPE I"} {
		if _, err := say(command); err != nil {
			return err
		}
	}
	data, err := l.dataOf(family, active, say)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(c, "RETR f\r\n"); err != nil {
		return err
	}
	d, err := data()
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer d.Close()
	_ = d.SetDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(d); err != nil || string(got) != file {
		return fmt.Errorf("%d bytes, %w", len(got), errors.Join(err, errors.New("another file")))
	}
	return nil
}

// dataOf prepares a data connection, and returns what gives it.
func (l *lab) dataOf(family string, active bool, say func(string) (string, error)) (func() (net.Conn, error), error) {
	if !active {
		reply, err := say("EPSV")
		if err != nil {
			return nil, err
		}
		var port int
		if _, err := fmt.Sscanf(reply[strings.Index(reply, "("):], "(|||%d|)", &port); err != nil {
			return nil, fmt.Errorf("%q: %w", reply, err)
		}
		return func() (net.Conn, error) {
			return l.web.TryDial(family, l.api.Addr(family, port), 3*time.Second)
		}, nil
	}
	lis := l.web.Listen(family, l.web.Addr(family, 0))
	at := netip.MustParseAddrPort(lis.Addr().String())
	command := fmt.Sprintf("EPRT |2|%s|%d|", at.Addr(), at.Port())
	if a := at.Addr().Unmap(); a.Is4() {
		b := a.As4()
		command = fmt.Sprintf("PORT %d,%d,%d,%d,%d,%d", b[0], b[1], b[2], b[3], at.Port()>>8, at.Port()&255)
	}
	if _, err := say(command); err != nil {
		lis.Close()
		return nil, err
	}
	return func() (net.Conn, error) {
		defer lis.Close()
		if t, ok := lis.(*net.TCPListener); ok {
			_ = t.SetDeadline(time.Now().Add(3 * time.Second))
		}
		return lis.Accept()
	}, nil
}

// serveFTP serves the file.
func serveFTP(ns *testnet.NS, family string, control net.Listener) {
	for {
		c, err := control.Accept()
		if err != nil {
			return
		}
		go serveControl(ns, family, c)
	}
}

func serveControl(ns *testnet.NS, family string, c net.Conn) {
	defer c.Close()
	own, _, _ := net.SplitHostPort(c.LocalAddr().String())
	say := func(text string) { _, _ = io.WriteString(c, text+"\r\n") }
	var data func() (net.Conn, error)
	say("220 FTP ready")
	for r := bufio.NewScanner(c); r.Scan(); {
		verb, arg, _ := strings.Cut(r.Text(), " ")
		switch verb {
		case "USER":
			say("331 any password")
		case "PASS":
			say("230 in")
		case "EPSV":
			lis := ns.Listen(family, net.JoinHostPort(own, "0"))
			data = func() (net.Conn, error) { defer lis.Close(); return lis.Accept() }
			say(fmt.Sprintf("229 Entering (|||%d|)", lis.Addr().(*net.TCPAddr).Port))
		case "PORT", "EPRT":
			to := activeTarget(arg)
			data = func() (net.Conn, error) { return ns.TryDial(family, to, 3*time.Second) }
			say("200 ok")
		case "RETR":
			say("150 here it is")
			if d, err := data(); err == nil {
				_, _ = io.WriteString(d, file)
				d.Close()
			}
			say("226 done")
		default:
			say("200 ok")
		}
	}
}

// activeTarget reads the argument of PORT or EPRT.
func activeTarget(arg string) string {
	if strings.HasPrefix(arg, "|") {
		f := strings.Split(arg, "|")
		return net.JoinHostPort(f[2], f[3])
	}
	var b [6]int
	_, _ = fmt.Sscanf(arg, "%d,%d,%d,%d,%d,%d", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5])
	return fmt.Sprintf("%d.%d.%d.%d:%d", b[0], b[1], b[2], b[3], b[4]<<8|b[5])
}

// tftp reads a file of three blocks.
func (l *lab) tftp(family string) error {
	own, _, err := net.SplitHostPort(l.web.Addr(family, 1))
	if err != nil {
		return err
	}
	c := l.web.ListenPacket(udp(family), net.JoinHostPort(own, "0"))
	defer c.Close()
	server, err := net.ResolveUDPAddr(udp(family), l.api.Addr(family, 69))
	if err != nil {
		return err
	}
	if _, err := c.WriteTo([]byte("\x00\x01f\x00octet\x00"), server); err != nil {
		return err
	}
	b := make([]byte, 600)
	for block := uint16(1); ; block++ {
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		n, from, err := c.ReadFrom(b)
		if err != nil {
			return fmt.Errorf("block %d: %w", block, err)
		}
		if n < 4 || uint16(b[2])<<8|uint16(b[3]) != block {
			return fmt.Errorf("block %d: %x", block, b[:min(n, 8)])
		}
		if _, err := c.WriteTo([]byte{0, 4, b[2], b[3]}, from); err != nil {
			return err
		}
		if n < 516 {
			return nil
		}
	}
}

// serveTFTP answers each request from a port of its own.
func serveTFTP(ns *testnet.NS, family string, requests net.PacketConn) {
	b := make([]byte, 600)
	for {
		_, from, err := requests.ReadFrom(b)
		if err != nil {
			return
		}
		c, err := ns.TryDial(udp(family), from.String(), time.Second)
		if err != nil {
			return
		}
		for block := uint16(1); block <= 3; block++ {
			data := append([]byte{0, 3, 0, byte(block)}, make([]byte, 512)...)
			if block == 3 {
				data = data[:100]
			}
			_, _ = c.Write(data)
			_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
			if _, err := c.Read(b); err != nil {
				break
			}
		}
		c.Close()
	}
}
