package learn

import (
	"slices"
	"strings"

	"github.com/sluicenet/sluice/controller/model"
)

// Names of servers are the client's words: they describe a rule and decide nothing.
const (
	maxNames = 8   // of one rule
	maxName  = 253 // bytes, RFC 1035
)

// name returns the server's name if a rule shows it: that of a server outside.
func (c *Connection) name() string {
	if c.To != model.External && c.To != model.Unmanaged && c.To != model.Metadata {
		return ""
	}
	name := strings.ToLower(strings.TrimSuffix(c.Name, "."))
	if host, _, ok := strings.Cut(name, ":"); ok {
		name = host // the port of an HTTP Host; addresses of IPv6 are no names
	}
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.' || r == '_' || r == '*'
	}
	if len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return ""
	}
	return name
}

// addName adds the name of a server to a learned rule, and reports whether that changed it.
func addName(rules *model.Rules, r *model.Rule, name string) (*model.Rule, bool) {
	if name == "" || r.Origin != model.Learned || len(r.Names) >= maxNames || slices.Contains(r.Names, name) {
		return r, false
	}
	r.Names = append(slices.Clone(r.Names), name)
	slices.Sort(r.Names)
	*r = rules.PutLearned(*r)
	return r, true
}
