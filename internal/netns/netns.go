// Package netns runs code inside other network namespaces and makes, lists and
// deletes named ones the way iproute2 does. It does not handle interfaces or addresses.
package netns

import (
	"errors"
	"path/filepath"
	"strings"
)

// Dir is the folder of named namespaces, as in iproute2.
const Dir = "/run/netns"

// ErrStranded means that a thread could not return to its original namespace. The thread is terminated;
// its work may have succeeded.
var ErrStranded = errors.New("thread could not return to its network namespace")

var (
	errName   = errors.New("not a usable namespace name")
	errExited = errors.New("function left its goroutine without returning")
)

// Named returns the path of the namespace of that name.
func Named(name string) string { return filepath.Join(Dir, name) }

// checkName rejects names that escape Dir.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || len(name) > 255 || strings.ContainsAny(name, "/\x00") {
		return errName
	}
	return nil
}
