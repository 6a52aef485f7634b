package model

import (
	"cmp"
	"fmt"
	"time"
)

// Expired is what follows when a session could not be identified within the hold time.
type Expired string

// What follows. The zero is that of the settings, and there deny.
const (
	ExpiredDefault Expired = ""
	ExpiredPass    Expired = "pass" // it passes, as a violation
	ExpiredDeny    Expired = "deny" // it is refused
)

// MaxHold is the longest hold time.
const MaxHold = time.Minute

// Validate returns an error if the value does not exist.
func (e Expired) Validate() error {
	switch e {
	case ExpiredDefault, ExpiredPass, ExpiredDeny:
		return nil
	}
	return fmt.Errorf("%q does not exist for expired holds: use pass or deny", string(e))
}

// Passes reports whether the session passes, with the setting for groups that have none of
// their own.
func (e Expired) Passes(otherwise Expired) bool { return cmp.Or(e, otherwise) == ExpiredPass }

// CheckHold returns an error for an invalid hold time.
func CheckHold(d time.Duration) error {
	if d < 0 || d > MaxHold {
		return fmt.Errorf("a hold time of %s is not possible: choose up to one minute", d)
	}
	return nil
}
