package testnet

import "net"

// ServeEach calls serve for each connection of a listener, in a goroutine of its own, and closes the connection
// afterwards. It returns when the listener is closed.
func ServeEach(l net.Listener, serve func(net.Conn)) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			serve(c)
		}()
	}
}
