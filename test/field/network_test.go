package field

// place is an address of a node to talk to: the first one, or one that a step added.
func (g *generator) place(node string) string {
	return node
}

// network are the changes of interfaces and addresses.
func (g *generator) network() []choice {
	return nil
}
