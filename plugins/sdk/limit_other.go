//go:build !linux

package sdk

// limit is for Linux only; elsewhere plugins run in tests only.
func limit() {}
