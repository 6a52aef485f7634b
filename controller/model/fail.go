package model

import "fmt"

// Fail is what happens to unjudged frames of a group.
type Fail string

// Fail modes. The zero is that of the settings.
const (
	FailDefault Fail = ""
	FailOpen    Fail = "open"   // they pass
	FailClosed  Fail = "closed" // they are dropped
)

// Validate returns an error if the mode does not exist.
func (f Fail) Validate() error {
	switch f {
	case FailDefault, FailOpen, FailClosed:
		return nil
	}
	return fmt.Errorf("fail mode %q does not exist: use open or closed", string(f))
}

// Closed reports whether frames are dropped, with the setting for groups that have none of
// their own. Groups fail open where neither is set.
func (f Fail) Closed(otherwise Fail) bool {
	if f == FailDefault {
		f = otherwise
	}
	return f == FailClosed
}
