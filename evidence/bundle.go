package evidence

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"

	"saoluu/internal/fault"
)

// Names and limits of a bundle.
const (
	entryName     = "entry.json"
	artifactsDir  = "artifacts/"
	proofName     = "proof.tlog-proof"
	manifestName  = "MANIFEST.sha256"
	signatureName = "MANIFEST.sha256.sig"
	publicName    = "signer.pub"
	howToName     = "HOW-TO-VERIFY.txt"

	maxFiles       = 1000
	maxBundleBytes = 256 << 20
)

// A Bundle is what goes into a bundle. In the zip lie, in this order and
// stored without compression:
//
//	entry.json           Entry, byte for byte: its SHA-256 leaf hash is in the ledger
//	artifacts/NAME       Artifacts, by name
//	proof.tlog-proof     Proof
//	MANIFEST.sha256      the digests of all other files but the next, as sha256sum prints them
//	MANIFEST.sha256.sig  SSH signature of the manifest, namespace "saoluu-evidence"
//	signer.pub           the public key in SSH's form, with the origin as comment
//	HOW-TO-VERIFY.txt    the commands
//
// The manifest covers signer.pub and HOW-TO-VERIFY.txt as well. The key of the
// signature is the key of the checkpoint in the proof.
type Bundle struct {
	Entry     []byte            // canonical line
	Proof     []byte            // in the form of FormatProof
	Artifacts map[string][]byte // by name: letters, digits, dot, hyphen and underscore
	Signer    *Signer
}

// Export writes a bundle after verifying that its entry, proof and signer belong
// together. The same bundle is the same bytes.
func Export(w io.Writer, b Bundle) error {
	e, _, err := VerifyEntry(b.Entry, b.Proof, b.Signer.VerifierKey())
	if err != nil {
		return err
	}
	op := fmt.Sprintf("export entry %d", e.Seq)
	files := []file{{entryName, b.Entry}}
	names := make([]string, 0, len(b.Artifacts))
	for name := range b.Artifacts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if !validName(artifactsDir + name) {
			return fault.New(fault.Usage, op, fmt.Errorf("%q cannot be the name of an artifact", name), "")
		}
		files = append(files, file{artifactsDir + name, b.Artifacts[name]})
	}
	files = append(files, file{proofName, b.Proof})
	after := []file{
		{publicName, []byte(b.Signer.PublicLine())},
		{howToName, []byte(howTo(b.Signer.Name()))},
	}
	manifest := manifestOf(append(slices.Clone(files), after...))
	files = append(files, file{manifestName, manifest}, file{signatureName, signSSH(b.Signer.key, manifest)})
	files = append(files, after...)
	total := 0
	for _, f := range files {
		total += len(f.data) + 2*len(f.name) + 100 // headers
	}
	if total > maxBundleBytes || len(files) > maxFiles {
		return fault.New(fault.Failed, op, fmt.Errorf("the bundle would be larger than %d bytes or %d files", maxBundleBytes, maxFiles), "")
	}
	_, err = w.Write(packZip(files, e.At))
	return err
}

// manifestOf lists digests as "sha256sum" does.
func manifestOf(files []file) []byte {
	var b bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(f.data), f.name)
	}
	return b.Bytes()
}

// validName reports whether a name may be in a bundle. It allows nothing that a
// shell, a file system or an unpacking program could understand differently.
func validName(name string) bool {
	if rest, ok := strings.CutPrefix(name, artifactsDir); ok {
		plain := func(r rune) bool {
			return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r)
		}
		return rest != "" && len(rest) <= 100 && rest[0] != '.' && rest[0] != '-' && strings.IndexFunc(rest, func(r rune) bool { return !plain(r) }) < 0
	}
	return slices.Contains([]string{entryName, proofName, manifestName, signatureName, publicName, howToName}, name)
}

// howTo is the text for the person who holds a bundle and has never heard of
// saoluu. origin holds nothing a shell would touch (see NewSigner).
func howTo(origin string) string {
	return fmt.Sprintf(`CÁCH KIỂM TRA MINH CHỨNG NÀY

Cần một máy có các lệnh sha256sum và ssh-keygen (OpenSSH 8.1 trở lên). Không cần mạng, không cần saoluu.
Giải nén tệp zip, mở cửa sổ dòng lệnh trong thư mục vừa giải nén, rồi làm lần lượt:

1. Các tệp còn nguyên vẹn (mỗi dòng phải báo OK):

     sha256sum -c %[2]s

2. Danh mục do đúng cơ quan ký (phải báo "Good"):

     (printf '%%s ' '%[1]s'; cat %[3]s) > allowed_signers
     ssh-keygen -Y verify -f allowed_signers -I '%[1]s' -n %[4]s -s %[5]s < %[2]s

3. Khóa đúng là khóa của cơ quan: so dòng in ra với dấu vân tay trên báo cáo tháng
   hoặc do cơ quan gửi riêng. Bước này không bỏ được: ai cũng có thể tự tạo một khóa.

     ssh-keygen -lf %[3]s

4. Sự kiện nằm trong sổ cái đã ký (cần chương trình saoluu, không cần cấu hình):

     saoluu evidence verify TỆP.zip

entry.json là sự kiện đã ghi; %[6]s chứng minh nó nằm trong sổ cái.


HOW TO VERIFY THIS EVIDENCE

You need a machine with sha256sum and ssh-keygen (OpenSSH 8.1 or newer), no network and no saoluu.
Unpack the zip file, open a terminal in the folder, and take these steps:

1. The files are whole (each line must say OK):

     sha256sum -c %[2]s

2. The list was signed by the agency (it must say "Good"):

     (printf '%%s ' '%[1]s'; cat %[3]s) > allowed_signers
     ssh-keygen -Y verify -f allowed_signers -I '%[1]s' -n %[4]s -s %[5]s < %[2]s

3. The key is the agency's: compare what this prints with the fingerprint on the monthly
   report, or one you got from the agency. Do not leave this out: anybody can make a key.

     ssh-keygen -lf %[3]s

4. The event is in the signed ledger (needs the program saoluu, but no configuration):

     saoluu evidence verify FILE.zip

entry.json is the event as recorded; %[6]s proves that it is in the ledger.
`, origin, manifestName, publicName, Namespace, signatureName, proofName)
}
