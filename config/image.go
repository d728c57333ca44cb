package config

import "fmt"

// SystemTree is the method of an image that saves a system file by file.
const SystemTree = "system-tree"

// imageMethod checks an image of blocks, or of a system's files. The latter leaves out
// the targets of the job by itself, where they lie in the system.
func (c checker) imageMethod(j *Job, s *Source, n *node) {
	if n.good("method") && s.Method != "" && s.Method != "blocks" && s.Method != SystemTree {
		c.tell(n, "method", fmt.Sprintf("an image source has no method %q", s.Method), "choose blocks or "+SystemTree)
	}
	if s.Method != SystemTree {
		c.image(j, s, n)
		c.factsFiles(s, n)
		for _, key := range n.written("exclude") {
			c.tell(n, key, "nothing is left out of an image of blocks", "remove it, or choose the method "+SystemTree)
		}
		return
	}
	if len(n.written("path")) == 0 {
		s.Path = "/"
	}
	for _, key := range n.written("guest", "facts_files") {
		c.tell(n, key, fmt.Sprintf("%q goes with images of blocks", key), "remove it, or choose the method blocks")
	}
}
