package app

import (
	"fmt"
	"hash/fnv"
	"sync/atomic"
)

// given are the names that plugins brought. It is a table like the built-in one and only grows;
// it is the process's and not a value passed round because a number's name is asked for by
// everything that prints.
var given atomic.Pointer[givenNames]

type givenNames struct {
	byID   map[ID]Info
	byName map[string]ID
}

// LastPlugin is the last number that is given to names of plugins.
const LastPlugin ID = 59999

// maxName is how long a name may be.
const maxName = 32

// CheckName says whether a plugin may use a name: lower-case letters, digits and
// hyphens, beginning with a letter, and nothing that the list means otherwise.
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
		return fmt.Errorf("application name %q has a meaning of its own", name)
	}
	return nil
}

// Suggest is the number that a new name gets where it is free: it follows from the name alone, so that all machines
// give the same one. Attempts count from 0, for numbers that are taken.
func Suggest(name string, attempt int) ID {
	h := fnv.New32a()
	h.Write([]byte(name))
	span := uint32(LastPlugin-FirstPlugin) + 1
	return FirstPlugin + ID((h.Sum32()%span+uint32(attempt))%span)
}

// Give gives a plugin's name a number, for the rest of the process's life. Giving it again is
// nothing; another number or another name is an error.
func Give(name string, id ID) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if id < FirstPlugin || id > LastPlugin {
		return fmt.Errorf("application %s: number %d is none of a plugin's (%d to %d)", name, id, FirstPlugin, LastPlugin)
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

// givenInfo finds a number that was given.
func givenInfo(id ID) (Info, bool) {
	g := given.Load()
	if g == nil {
		return Info{}, false
	}
	i, ok := g.byID[id]
	return i, ok
}

// givenID finds a name that was given.
func givenID(name string) (ID, bool) {
	g := given.Load()
	if g == nil {
		return Unknown, false
	}
	id, ok := g.byName[name]
	return id, ok
}
