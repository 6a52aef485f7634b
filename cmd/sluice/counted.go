package main

import "fmt"

// counted returns a number with its noun, which has a plural with s.
func counted(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
