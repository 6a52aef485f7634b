package agent

// Networks inside of a workload: a bridge none of whose ports leads out of the namespace joins nested
// containers. What they send to the workload or through it is judged at the bridge like what comes from
// anywhere else, so in protect it is refused unless a rule allows their addresses. The label for forwarding
// makes them the workload's own matter: then they are judged where they leave it.

// inside reports whether an interface is left to the workload itself, as what it carries leaves by others.
func (t *tracked) inside(e *endpoint) bool { return t.forwarding() && e.joinsNested() }

// joinsNested reports whether an interface is a bridge of which no port leads out of the namespace.
func (e *endpoint) joinsNested() bool { return e.iface.Kind == "bridge" && e.iface.Inner == "" }

// insideNote describes an interface that joins nested containers; "" for any other.
func (t *tracked) insideNote(e *endpoint) string {
	switch {
	case t.inside(e):
		return "a network inside of the workload, which has the label " + labelForwarding + ": not judged here, but where its packets leave the workload"
	case e.joinsNested():
		return "what nested containers send by it is judged as from outside, unless the workload has the label " + labelForwarding
	}
	return ""
}
