// Package parsertest is the conformance suite of parsers. A protocol's behaviour is
// data: a file with the bytes of a conversation and what a parser must find in it. The suite
// replays each case whole, cut at every byte, one-sided, with gaps and with junk
// behind it, and expects the same findings wherever the bytes are the same. It asks through
// core/detect, with the engine's limits; it is not the engine and judges no policy.
//
// A case is a text file in the parser's testdata, named *.case:
//
//	# a comment
//	proto: tcp                     (or udp; tcp if missing)
//	client: 10.0.0.1:40000         (optional, as is server)
//	server: 10.0.0.2:80
//	midstream: true                (optional: the beginning was not seen)
//	app: websocket                 (none: these bytes must not be claimed)
//	base: http                     (app if missing)
//	strength: certain              (or likely; certain if missing)
//	client-only: websocket         (optional: the final result of the client's bytes alone)
//	server-only: http              (optional: the same for the server's)
//	side: certain                  (optional: in midstream the bytes show who the client is; or exchanged, unknown)
//	final: false                   (optional: a layered parser is still undecided at the end)
//	junk: false                    (optional: bytes behind the conversation may change the answer)
//	attr host: example.com         (every attribute that is found, and no other)
//	threat: 2011                   (every threat that is found, and no other)
//	expect: to-client tcp/40001 ftp-data 10.0.0.1
//	                               (every connection that is announced, in order: the side that expects it, protocol
//	                               and port, application, the announced address and "long" where there is one)
//	---
//	> GET / HTTP/1.1\r\n           (client's bytes with Go escapes: one segment or datagram)
//	+ Host: example.com\r\n\r\n    (more of the same segment)
//	<x 48 54 54 50                 (server's bytes in hex; >x and +x alike)
//	+*1000 A                       (a piece a thousand times; >* and <* alike)
//	gap < 100                      (100 bytes of the server are lost; -1: unknown how many)
//
// A leading blank of the bytes is written \x20; blanks at the line's end are kept.
package parsertest
