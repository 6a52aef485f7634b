package parsertest

import (
	"bytes"

	"github.com/sluicenet/sluice/parsers"
)

// maxCuts bounds how many places a long conversation is cut at.
const maxCuts = 1500

// cutAll cuts every message into segments of n bytes.
func cutAll(messages []Message, n int) []Message {
	var out []Message
	for _, m := range messages {
		if m.Gap != 0 {
			out = append(out, m)
			continue
		}
		for at := 0; at < len(m.Data); at += n {
			out = append(out, Message{Dir: m.Dir, Data: m.Data[at:min(at+n, len(m.Data))]})
		}
	}
	return out
}

// cutOnce cuts one message in two.
func cutOnce(messages []Message, i, at int) []Message {
	out := make([]Message, 0, len(messages)+1)
	out = append(out, messages[:i]...)
	m := messages[i]
	out = append(out, Message{Dir: m.Dir, Data: m.Data[:at]}, Message{Dir: m.Dir, Data: m.Data[at:]})
	return append(out, messages[i+1:]...)
}

// coalesce puts neighbours of one side into one segment.
func coalesce(messages []Message) []Message {
	var out []Message
	for _, m := range messages {
		if n := len(out) - 1; n >= 0 && m.Gap == 0 && out[n].Gap == 0 && out[n].Dir == m.Dir {
			out[n].Data = append(bytes.Clone(out[n].Data), m.Data...)
			continue
		}
		out = append(out, m)
	}
	return out
}

// oneSide keeps what one side sent.
func oneSide(messages []Message, dir parsers.Dir) []Message {
	var out []Message
	for _, m := range messages {
		if m.Dir == dir {
			out = append(out, m)
		}
	}
	return out
}

// turn swaps the sides of all messages.
func turn(messages []Message) []Message {
	out := bytesOf(messages)
	for i := range out {
		out[i].Dir = out[i].Dir.Reverse()
	}
	return out
}

// turnMeta takes client and server for each other.
func turnMeta(m parsers.Meta) parsers.Meta {
	m.Client, m.Server, m.ClientPort, m.ServerPort = m.Server, m.Client, m.ServerPort, m.ClientPort
	return m
}

// cuts lists where a conversation is cut in two: everywhere, or evenly spread if it is long.
func cuts(messages []Message) [][2]int {
	total := 0
	for _, m := range messages {
		total += len(m.Data)
	}
	step := 1 + total/maxCuts
	var out [][2]int
	for i, m := range messages {
		for at := 1; at < len(m.Data); at++ {
			if at%step == 0 || at <= 64 || at >= len(m.Data)-16 {
				out = append(out, [2]int{i, at})
			}
		}
	}
	return out
}

// withGaps lists variants in which a part of a message never comes.
func withGaps(messages []Message) [][]Message {
	var out [][]Message
	for i, m := range messages {
		n := len(m.Data)
		for _, lost := range [][2]int{{0, n}, {0, n / 2}, {n / 2, n}, {1, n}, {n - 1, n}, {n / 3, n/3 + 1}, {0, 1}} {
			if lost[0] < 0 || lost[0] >= lost[1] || lost[1] > n {
				continue
			}
			for _, size := range []int{lost[1] - lost[0], -1} {
				out = append(out, lose(messages, i, lost, size))
			}
		}
	}
	return out
}

func lose(messages []Message, i int, lost [2]int, size int) []Message {
	out := make([]Message, 0, len(messages)+2)
	out = append(out, messages[:i]...)
	m := messages[i]
	if lost[0] > 0 {
		out = append(out, Message{Dir: m.Dir, Data: m.Data[:lost[0]]})
	}
	out = append(out, Message{Dir: m.Dir, Gap: size})
	if lost[1] < len(m.Data) {
		out = append(out, Message{Dir: m.Dir, Data: m.Data[lost[1]:]})
	}
	return append(out, messages[i+1:]...)
}

// withJunk puts bytes of no protocol behind a conversation.
func withJunk(messages []Message, junk []byte) []Message {
	out := bytesOf(messages)
	return append(out, Message{Dir: parsers.ToServer, Data: junk}, Message{Dir: parsers.ToClient, Data: junk})
}

func bytesOf(messages []Message) []Message {
	return append(make([]Message, 0, len(messages)+2), messages...)
}

// junks are what follows a conversation.
func junks() map[string][]byte {
	mixed := make([]byte, 600)
	x := uint32(2463534242)
	for i := range mixed {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		mixed[i] = byte(x)
	}
	return map[string][]byte{
		"zeros": make([]byte, 300), "ones": bytes.Repeat([]byte{0xff}, 300),
		"text": bytes.Repeat([]byte("lorem ipsum \r\n"), 20), "mixed": mixed,
	}
}
