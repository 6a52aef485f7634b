// Package engine runs the frame path: one worker for each queue receives, decodes,
// finds the session, tracks, assembles, identifies, asks policy and settles. It
// knows backends, parsers and policy by their contracts only.
package engine
