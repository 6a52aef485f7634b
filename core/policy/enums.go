package policy

import (
	"fmt"
	"strings"
)

var (
	modeNames    = []string{"discover", "monitor", "protect"}
	onDenyNames  = []string{"reset", "reject", "drop"}
	unreadyNames = []string{"allow", "hold", "deny"}
)

// String returns "discover", "monitor" or "protect".
func (m Mode) String() string { return enumName(modeNames, uint8(m)) }

// ParseMode returns the mode with a name, in any case.
func ParseMode(s string) (Mode, error) {
	i, err := parseEnum("mode", modeNames, s)
	return Mode(i), err
}

// MarshalText returns the mode's name.
func (m Mode) MarshalText() ([]byte, error) { return marshalEnum("mode", modeNames, uint8(m)) }

// UnmarshalText reads a mode's name.
func (m *Mode) UnmarshalText(b []byte) (err error) { *m, err = ParseMode(string(b)); return err }

// String returns "reset", "reject" or "drop".
func (o OnDeny) String() string { return enumName(onDenyNames, uint8(o)) }

// ParseOnDeny returns the action with a name; "silent" is another name of "drop".
func ParseOnDeny(s string) (OnDeny, error) {
	if strings.EqualFold(strings.TrimSpace(s), "silent") {
		return Silent, nil
	}
	i, err := parseEnum("on_deny setting", onDenyNames, s)
	return OnDeny(i), err
}

// MarshalText returns the action's name.
func (o OnDeny) MarshalText() ([]byte, error) {
	return marshalEnum("on_deny setting", onDenyNames, uint8(o))
}

// UnmarshalText reads an action's name.
func (o *OnDeny) UnmarshalText(b []byte) (err error) { *o, err = ParseOnDeny(string(b)); return err }

// String returns "allow", "hold" or "deny".
func (u Unready) String() string { return enumName(unreadyNames, uint8(u)) }

// ParseUnready returns the setting with a name.
func ParseUnready(s string) (Unready, error) {
	i, err := parseEnum("unready setting", unreadyNames, s)
	return Unready(i), err
}

// MarshalText returns the setting's name.
func (u Unready) MarshalText() ([]byte, error) {
	return marshalEnum("unready setting", unreadyNames, uint8(u))
}

// UnmarshalText reads a setting's name.
func (u *Unready) UnmarshalText(b []byte) (err error) { *u, err = ParseUnready(string(b)); return err }

func enumName(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("invalid-%d", i)
}

func parseEnum(what string, names []string, s string) (uint8, error) {
	s = strings.TrimSpace(s)
	for i, n := range names {
		if strings.EqualFold(n, s) {
			return uint8(i), nil
		}
	}
	return 0, fmt.Errorf("no %s is called %q: use %s or %s", what, s,
		strings.Join(names[:len(names)-1], ", "), names[len(names)-1])
}

func marshalEnum(what string, names []string, i uint8) ([]byte, error) {
	if int(i) >= len(names) {
		return nil, fmt.Errorf("%s %d has no name", what, i)
	}
	return []byte(names[i]), nil
}
