// Package netns runs code inside other network namespaces and makes, lists and
// deletes named ones the way iproute2 does. It knows nothing of interfaces or
// addresses; those are netlink's.
package netns

import (
	"errors"
	"path/filepath"
	"strings"
)

// Dir is where named namespaces live, as iproute2 has it.
const Dir = "/run/netns"

// ErrStranded says that a thread could not return to the namespace it came
// from. The thread has been given up; the work it did may have succeeded.
var ErrStranded = errors.New("thread could not return to its network namespace")

var (
	errName   = errors.New("not a usable namespace name")
	errExited = errors.New("function left its goroutine without returning")
)

// Named is the path of the namespace of that name.
func Named(name string) string { return filepath.Join(Dir, name) }

// checkName refuses what would lead out of Dir.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
		return errName
	}
	return nil
}
