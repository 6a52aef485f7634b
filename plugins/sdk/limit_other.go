//go:build !linux

package sdk

// limit is Linux's; elsewhere a plugin is for its author's tests.
func limit() {}
