package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// args is a check of positional arguments, whose errors name what is missing.
func args(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, got []string) error {
		switch missing := len(names) - len(got); {
		case missing == 1:
			return fmt.Errorf("%s is missing: use `%s`", names[len(got)], usage(cmd))
		case missing > 1:
			return fmt.Errorf("%s are missing: use `%s`", strings.Join(names[len(got):], " and "), usage(cmd))
		case missing < 0 && len(names) == 0 && cmd.HasAvailableSubCommands():
			return noCommand(cmd, got)
		case missing < 0:
			return fmt.Errorf("unexpected argument %q: use `%s`, and see `%s --help`", got[len(names)], usage(cmd), cmd.CommandPath())
		}
		return nil
	}
}

// usage is a command line of cmd, without what every command has.
func usage(cmd *cobra.Command) string { return strings.TrimSuffix(cmd.UseLine(), " [flags]") }

// verbs are what other programs call the listing that here is the name of a thing alone.
var verbs = []string{"get", "list", "ls", "show", "describe"}

// noCommand is the error for arguments of cmd of which the first should be a subcommand and is not. It names the
// ones that may be meant.
func noCommand(cmd *cobra.Command, got []string) error {
	path, word := cmd.CommandPath(), got[0]
	if !cmd.HasParent() && slices.Contains(verbs, word) {
		if len(got) > 1 {
			if sub, _, err := cmd.Find(got[1:]); err == nil && sub != cmd {
				return fmt.Errorf("there is no command %q: use `%s`", word, sub.CommandPath())
			}
		}
		return fmt.Errorf("there is no command %q: name what to list, as in `sluice workloads`, `sluice connections`, `sluice groups` or `sluice rules`", word)
	}
	var like []string
	if len(word) > 3 || cmd.HasParent() { // two letters off three are another word
		like = cmd.SuggestionsFor(word)
	}
	if len(like) == 0 && cmd.HasParent() {
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				like = append(like, sub.Name())
			}
		}
	}
	where := ""
	if cmd.HasParent() {
		where = " of `" + path + "`"
	}
	if len(like) == 0 {
		return fmt.Errorf("there is no command %q%s: see `%s --help`", word, where, path)
	}
	return fmt.Errorf("there is no command %q%s: did you mean `%s %s`?", word, where, path, strings.Join(like, "` or `"+path+" "))
}

// listed lets a command that lists without a subcommand do so as `list`, too, which newcomers type.
func listed(cmd *cobra.Command) *cobra.Command {
	cmd.AddCommand(&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: cmd.Short, Hidden: true, Args: args(), RunE: cmd.RunE})
	cmd.SuggestionsMinimumDistance = 2
	return cmd
}
