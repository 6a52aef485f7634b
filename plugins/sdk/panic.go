package sdk

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sluicenet/sluice/plugins/wire"
)

// recovered stores a panic for the host, which counts and logs it.
func (t *table) recovered(v any, during wire.Kind) {
	t.panics++
	t.panicked = clip(fmt.Sprintf("%v%s, on %s", v, origin(), during))
}

// clip shortens a text to fit into an answer.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), wire.MaxValue)], "?")
}

// origin returns where the recovered panic began; "" if unknown. It must be called by a function that a
// deferred function calls.
func origin() string {
	var pc [32]uintptr
	frames := runtime.CallersFrames(pc[:runtime.Callers(0, pc[:])])
	panicking := false
	for {
		f, more := frames.Next()
		switch {
		case f.Function == "runtime.gopanic":
			panicking = true
		case panicking && !strings.HasPrefix(f.Function, "runtime."):
			return fmt.Sprintf(" at %s:%d in %s", filepath.Base(f.File), f.Line, f.Function[strings.LastIndexByte(f.Function, '/')+1:])
		}
		if !more {
			return ""
		}
	}
}
