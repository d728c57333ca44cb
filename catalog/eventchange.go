package catalog

// Events about the history of configurations (39/2024/QĐ-UBND Hải Dương, Điều 7 khoản 4
// and Điều 8 khoản 3 điểm b). What changed is in the facts of the two runs and, in full,
// in their copies; the ledger has numbers alone.

// ConfigChanged records that a good run of a configuration saved other contents than the
// good run before it.
type ConfigChanged struct {
	Run     string `json:"run"`
	Job     string `json:"job"`
	Before  string `json:"before"` // run it was compared with
	Added   int    `json:"added"`
	Removed int    `json:"removed"`
	Changed int    `json:"changed"` // in content, mode, owner or link
	// Unknown is why the two could not be compared, for people; the numbers say nothing
	// then, and the change must be explained all the same.
	Unknown string `json:"unknown,omitempty"`
}

// Files is how many files the change is about.
func (e ConfigChanged) Files() int { return e.Added + e.Removed + e.Changed }

// ChangeExplained records why a configuration was changed, as somebody has said.
type ChangeExplained struct {
	Run   string   `json:"run"` // of the ConfigChanged
	Job   string   `json:"job"`
	Paths []string `json:"paths,omitempty"` // SHA-256 of the paths that are explained; empty: all of the run's
	Note  string   `json:"note"`
	Ref   string   `json:"ref,omitempty"` // ticket, document or order
	By    string   `json:"by"`            // who answers for the change
	Asked string   `json:"asked"`         // account that ran the command
}

// Kind implements Event.
func (ConfigChanged) Kind() string { return "config-changed" }

// Kind implements Event.
func (ChangeExplained) Kind() string { return "change-explained" }
