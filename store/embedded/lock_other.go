//go:build !linux

package embedded

import "os"

// lockHolder returns 0: unknown on this system.
func lockHolder(string) int { return 0 }

// unlock does nothing: the end of the process releases the lock.
func unlock(*os.File) {}
