package http_test

import (
	"context"
	"net"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sluicenet/sluice/core/app"
	"github.com/sluicenet/sluice/parsers"
	"github.com/sluicenet/sluice/parsers/http"
	"github.com/sluicenet/sluice/parsers/parsertest"
)

// TestLive records Go's own client and server and replays what they said.
func TestLive(t *testing.T) {
	srv := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		w.Header().Set("Server", "live")
		w.WriteHeader(nethttp.StatusTeapot)
	}))
	defer srv.Close()
	var rec parsertest.Recorder
	client := &nethttp.Client{Transport: &nethttp.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return rec.Client(c), nil
	}}}
	resp, err := client.Post(srv.URL+"/pots/1?short=true", "text/plain", strings.NewReader("stout"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	client.CloseIdleConnections()
	c := rec.Case("live")
	f, err := parsertest.Replay(http.New(), app.HTTP, c.Meta, c.Messages)
	if err != nil {
		t.Fatal(err)
	}
	want := map[parsers.Attr]string{
		parsers.Method: "POST", parsers.Path: "/pots/1", parsers.Status: "418", parsers.Software: "live",
		parsers.Host: strings.TrimPrefix(srv.URL, "http://"), parsers.UserAgent: "Go-http-client/1.1",
	}
	for a, v := range want {
		if got := f.Value(a); got != v {
			t.Errorf("%s: got %q want %q", a, got, v)
		}
	}
	c.Want = f
	c.Want.App, c.Want.Base = "http", "http"
	parsertest.Check(t, http.New(), app.HTTP, &c)
}
