package model

import (
	"fmt"
	"strings"

	"github.com/sluicenet/sluice/core/app"
)

// Action is what a rule does.
type Action string

// Actions.
const (
	Allow Action = "allow"
	Deny  Action = "deny"
)

// Origin is where a rule comes from.
type Origin string

// Origins.
const (
	Learned   Origin = "learned"
	ByUser    Origin = "user"
	Imported  Origin = "imported"
	maxPorts         = 1000
	maxNote          = 1000
	maxAppsOf        = 1000
)

// Rule allows or denies connections from one group to another, read from client to server.
type Rule struct {
	ID       uint32 `json:"id"`
	From     string `json:"from"`
	To       string `json:"to"`
	Ports    Ports  `json:"ports,omitempty"`
	Apps     Apps   `json:"apps,omitempty"`
	Action   Action `json:"action"`
	Origin   Origin `json:"origin"`
	Disabled bool   `json:"disabled,omitempty"`
	Comment  string `json:"comment,omitempty"`
	Created  int64  `json:"created,omitempty"`  // ns since the epoch
	Revision uint64 `json:"revision,omitempty"` // counts changes, for compare-and-set
	// Names are some of the servers' names that were seen, of a learned rule to a group without identity.
	Names []string `json:"names,omitempty"`
}

// Validate returns an error for an invalid rule. It does not check whether the groups exist.
func (r *Rule) Validate() error {
	if err := CheckName(r.From); err != nil {
		return fmt.Errorf("rule: from: %w", err)
	}
	if err := CheckName(r.To); err != nil {
		return fmt.Errorf("rule: to: %w", err)
	}
	switch {
	case r.Action != Allow && r.Action != Deny:
		return fmt.Errorf("rule: action %q does not exist: use allow or deny", r.Action)
	case r.Origin != Learned && r.Origin != ByUser && r.Origin != Imported:
		return fmt.Errorf("rule: origin %q does not exist: use user, learned or imported", r.Origin)
	case len(r.Ports) > maxPorts || len(r.Apps) > maxAppsOf:
		return fmt.Errorf("rule: %d ports and %d applications are too many: use up to %d of each, ranges, or any", len(r.Ports), len(r.Apps), maxPorts)
	case len(r.Comment) > maxNote:
		return fmt.Errorf("rule: the comment has %d bytes: use up to %d", len(r.Comment), maxNote)
	}
	for _, p := range r.Ports {
		if p.Lo > p.Hi {
			return fmt.Errorf("rule: ports %d to %d are the wrong way round", p.Lo, p.Hi)
		}
	}
	for _, a := range r.Apps {
		if a == app.Undecided {
			return fmt.Errorf("rule: no session stays undecided: name an application, unknown or any")
		}
	}
	return nil
}

// String is the rule as a sentence.
func (r *Rule) String() string {
	return fmt.Sprintf("%s from %s to %s on %s for %s", r.Action, r.From, r.To,
		strings.Join(r.Ports.Strings(), ", "), strings.Join(r.Apps.Strings(), ", "))
}
