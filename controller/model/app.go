package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sluicenet/sluice/core/app"
)

// Apps are the applications of a rule; empty is any. In text they are names; "unknown" are the
// sessions whose identification ended without a name.
type Apps []app.ID

// ParseApps reads the applications of a rule; an element may hold several with commas between
// them. Nothing, or "any" among them, is any. The result is sorted and has none twice.
func ParseApps(list []string) (Apps, error) {
	var out Apps
	for _, e := range list {
		for s := range strings.SplitSeq(e, ",") {
			s = strings.ToLower(strings.TrimSpace(s))
			if s == "" {
				continue
			}
			if s == "any" {
				return nil, nil
			}
			id, err := parseApp(s)
			if err != nil {
				return nil, err
			}
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// parseApp also reads "app-N", the name of a number that only a plugin knows.
func parseApp(s string) (app.ID, error) {
	if n, ok := strings.CutPrefix(s, "app-"); ok {
		if id, err := strconv.ParseUint(n, 10, 16); err == nil && app.ID(id) != app.Undecided {
			return app.ID(id), nil
		}
	}
	id, err := app.Parse(s)
	if err != nil {
		return 0, fmt.Errorf("application %q: %w", s, err)
	}
	return id, nil
}

// Strings is the names, "any" where there are none.
func (a Apps) Strings() []string {
	if len(a) == 0 {
		return []string{"any"}
	}
	out := make([]string, len(a))
	for i, id := range a {
		out[i] = id.Name()
	}
	return out
}

// MarshalJSON is the list of names.
func (a Apps) MarshalJSON() ([]byte, error) { return json.Marshal(a.Strings()) }

// UnmarshalJSON reads a list of names.
func (a *Apps) UnmarshalJSON(b []byte) error {
	var names []string
	if err := json.Unmarshal(b, &names); err != nil {
		return fmt.Errorf("applications: %w", err)
	}
	var err error
	*a, err = ParseApps(names)
	return err
}
