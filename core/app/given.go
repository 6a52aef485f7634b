package app

import (
	"fmt"
	"hash/fnv"
	"sync/atomic"
)

// given holds the names that plugins registered. It is a table like the built-in one and only
// grows; it is global and not passed as a value because everything that prints needs a
// number's name.
var given atomic.Pointer[givenNames]

type givenNames struct {
	byID   map[ID]Info
	byName map[string]ID
}

// LastPlugin is the last number assigned to names of plugins.
const LastPlugin ID = 59999

// maxName is the maximum length of a name.
const maxName = 32

// CheckName reports an error unless a plugin may use a name: lower-case letters, digits and
// hyphens, beginning with a letter, and without another meaning in the list.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("application name %.40q: 1 to %d characters", name, maxName)
	}
	for i, c := range []byte(name) {
		letter := c >= 'a' && c <= 'z'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return fmt.Errorf("application name %q: lower-case letters, digits and hyphens, a letter first", name)
		}
	}
	if name == "unknown" || name == "none" || name == "undecided" || name == "any" {
		return fmt.Errorf("application name %q is reserved", name)
	}
	return nil
}

// Suggest returns the number for a new name, if it is free: it depends on the name alone, so
// that all machines assign the same one. Attempts count from 0, for numbers that are taken.
func Suggest(name string, attempt int) ID {
	h := fnv.New32a()
	h.Write([]byte(name))
	span := uint32(LastPlugin-FirstPlugin) + 1
	return FirstPlugin + ID((h.Sum32()%span+uint32(attempt))%span)
}

// Give assigns a number to a plugin's name for the rest of the process's run. Repeating it
// has no effect; another number or another name is an error.
func Give(name string, id ID) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if id < FirstPlugin || id > LastPlugin {
		return fmt.Errorf("application %s: number %d is outside the plugins' range (%d to %d)", name, id, FirstPlugin, LastPlugin)
	}
	if was, ok := byName[name]; ok {
		return fmt.Errorf("application %s is listed with number %d", name, was)
	}
	for {
		old := given.Load()
		next := &givenNames{byID: map[ID]Info{}, byName: map[string]ID{}}
		if old != nil {
			was, named := old.byName[name]
			if named && was == id {
				return nil
			}
			if i, taken := old.byID[id]; named || taken {
				return fmt.Errorf("application %s: number %d, but %q has %d", name, id, i.Name, was)
			}
			for k, v := range old.byID {
				next.byID[k], next.byName[v.Name] = v, k
			}
		}
		next.byID[id], next.byName[name] = Info{ID: id, Name: name}, id
		if given.CompareAndSwap(old, next) {
			return nil
		}
	}
}

// givenInfo looks up an assigned number.
func givenInfo(id ID) (Info, bool) {
	g := given.Load()
	if g == nil {
		return Info{}, false
	}
	i, ok := g.byID[id]
	return i, ok
}

// givenID looks up an assigned name.
func givenID(name string) (ID, bool) {
	g := given.Load()
	if g == nil {
		return Unknown, false
	}
	id, ok := g.byName[name]
	return id, ok
}
