package catalog

// Events about removable media: the register, the custody log and the life cycle
// (39/2024/QĐ-UBND Hải Dương, Điều 16 khoản 1 điểm b; 29/2020/QĐ-UBND Bình Phước,
// Điều 6 khoản 4). A medium keeps its name for ever.

// MediumRegistered enters a medium into the register.
type MediumRegistered struct {
	Medium     string `json:"medium"`
	Target     string `json:"target"`     // its own for ever: what lies on another medium is not on this target
	ID         string `json:"id"`         // written into the medium's header
	Filesystem string `json:"filesystem"` // UUID of its file system
	Format     string `json:"format"`     // kind of file system
	Type       string `json:"type"`       // one of the Medium types
	Model      string `json:"model,omitempty"`
	Serial     string `json:"serial,omitempty"`
	Bytes      int64  `json:"bytes"` // capacity
	Label      string `json:"label,omitempty"`
	Secrecy    string `json:"secrecy"`
	Owner      string `json:"owner"` // the unit of the agency it belongs to
	By         string `json:"by"`
}

// Types of medium. The words are stored: append only.
const (
	MediumHDD   = "hdd"
	MediumSSD   = "ssd"
	MediumUSB   = "usb"
	MediumSafe  = "usb_coyeu" // a safe USB drive of the Government Cipher Committee
	MediumOther = "other"
)

// MediumSeen records that a medium was plugged in, or was no longer there.
type MediumSeen struct {
	Medium  string `json:"medium"`
	Plugged bool   `json:"plugged"`
	Host    string `json:"host"`
}

// MediumRefused records that something was plugged in, or offered, that must not be
// written or read.
type MediumRefused struct {
	Medium     string `json:"medium,omitempty"` // the one it claims or was taken to be
	Filesystem string `json:"filesystem,omitempty"`
	Model      string `json:"model,omitempty"`
	Serial     string `json:"serial,omitempty"`
	Reason     string `json:"reason"`
}

// MediumHanded is one line of the custody log: who took the medium and where it lies.
type MediumHanded struct {
	Medium  string `json:"medium"`
	To      string `json:"to"`
	Place   string `json:"place"`
	Seal    string `json:"seal,omitempty"`     // number of the seal it lies under
	DueBack string `json:"due_back,omitempty"` // YYYY-MM-DD
	Note    string `json:"note,omitempty"`
	By      string `json:"by"`
}

// MediumInspected records that somebody looked whether the medium is where it
// should be, and its seal whole.
type MediumInspected struct {
	Medium string `json:"medium"`
	By     string `json:"by"`
	Place  string `json:"place"`
	Seal   string `json:"seal,omitempty"` // the number that was read
	Intact bool   `json:"intact"`
	Note   string `json:"note,omitempty"`
}

// Stages of a medium's life. The words are stored: append only. A medium is new
// from its registration on.
const (
	StageNew         = "new"
	StageInUse       = "in-use"
	StageToSanitise  = "to-sanitise"
	StageSanitised   = "sanitised"
	StageReused      = "reused"
	StageTransferred = "transferred"
	StageDisposed    = "disposed"
	StageLost        = "lost"
)

// MediumStaged records that a medium came to another stage of its life.
type MediumStaged struct {
	Medium       string        `json:"medium"`
	Stage        string        `json:"stage"`
	By           string        `json:"by"`
	Note         string        `json:"note,omitempty"`
	Sanitisation *Sanitisation `json:"sanitisation,omitempty"` // of StageSanitised
}

// A Sanitisation says how the contents of a medium were made irrecoverable (NIST
// SP 800-88r2 names the methods; fields of its certificate).
type Sanitisation struct {
	Method       string   `json:"method"`    // clear, purge or destroy
	Technique    string   `json:"technique"` // for example overwrite, crypto-erase, shredder
	Tool         string   `json:"tool,omitempty"`
	Verification string   `json:"verification"` // how it was looked whether it worked, and the result
	Witness      string   `json:"witness"`
	Place        string   `json:"place"`
	Decision     string   `json:"decision,omitempty"` // number of the decision; needed for secrets
	Runs         []string `json:"runs"`               // last contents
}

func (MediumRegistered) Kind() string { return "medium-registered" }
func (MediumSeen) Kind() string       { return "medium-seen" }
func (MediumRefused) Kind() string    { return "medium-refused" }
func (MediumHanded) Kind() string     { return "medium-handed" }
func (MediumInspected) Kind() string  { return "medium-inspected" }
func (MediumStaged) Kind() string     { return "medium-staged" }
