package sdk

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sluicenet/sluice/plugins/wire"
)

// recovered notes a panic for the host, which counts it and writes it to Sluice's log.
func (t *table) recovered(v any, during wire.Kind) {
	t.panics++
	t.panicked = clip(fmt.Sprintf("%v%s, on %s", v, origin(), during))
}

// clip makes a text fit into an answer.
func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), wire.MaxValue)], "?")
}

// origin is where the panic that is being recovered from began; "" where that is not known. It is called by what a
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
