package report

import (
	"slices"
	"strings"

	"saoluu/compliance"
)

func grid(result compliance.Result) Grid {
	g := Grid{Months: []Month{}, Rows: []Row{}}
	for _, w := range result.Watch {
		running := w.Month.End(result.Location).After(result.AsOf) && !w.Month.Start(result.Location).After(result.AsOf)
		inside := !w.Month.Start(result.Location).Before(result.From) && w.Month.Start(result.Location).Before(result.To)
		g.Months = append(g.Months, Month{Month: w.Month.String(), InPeriod: inside, Running: running, SilentHours: float64(int(w.Silent.Hours()*10)) / 10})
	}
	for _, row := range result.Grid {
		out := Row{Job: row.Job, Title: row.Title, Importance: row.Importance, Bound: row.Bound, Removed: utc(row.Removed)}
		for _, c := range row.Cells {
			out.Cells = append(out.Cells, Cell{
				Result: c.Outcome, Good: c.Good, Bad: c.Bad, Voided: c.Voided, Last: utc(c.Last), Running: c.Running, Why: c.Why,
			})
		}
		g.Rows = append(g.Rows, out)
	}
	return g
}

func copies(result compliance.Result) []Copy {
	out := []Copy{}
	for _, c := range result.Copies {
		row := Copy{Job: c.Job, Target: c.Target, Run: c.Run, TakenAt: utc(c.Taken), Separation: "unknown", Encryption: c.Encryption, Consistency: c.Consistency}
		if s := c.Separation; s != nil {
			row.How = s.How
			if !s.Unknown {
				row.Separation, row.Measured = "L"+string(rune('0'+s.Level)), !s.Declared
			}
		}
		out = append(out, row)
	}
	return out
}

func targets(result compliance.Result) []Target {
	jobs := map[string]int{}
	for _, c := range result.Copies {
		jobs[c.Target]++
	}
	out := []Target{}
	for _, t := range result.Targets {
		out = append(out, Target{
			Name: t.Name, Type: t.Type, Site: t.Site, External: t.External, Jobs: jobs[t.Name], Read: utc(t.Read), Whole: utc(t.Whole),
			Damaged: utc(t.Damaged), Suspect: utc(t.Suspect), Groups: t.Groups, Done: t.Done, Every: t.Every.String(), Covered: t.Covered, Ever: t.Ever, Egress: t.Egress, Needed: egressNeeded(t), Spared: t.Spared,
			Anchored: utc(t.Anchored),
		})
	}
	return out
}

// egressNeeded is what reading back takes, of a target that has a budget for it.
func egressNeeded(t compliance.TargetFacts) int64 {
	if t.Egress == 0 {
		return 0
	}
	return t.Needed
}

func classes(result compliance.Result) []Class {
	covered, tested := map[string]bool{}, map[string]bool{}
	for _, c := range result.Copies {
		covered[c.Job] = true
	}
	for _, p := range result.Proofs {
		tested[p.Job] = !p.Passed.IsZero() && p.Believed
	}
	out := []Class{}
	for _, c := range result.Inventory.Classes {
		row := Class{Name: c.Name, Title: c.Title, KeepMin: c.KeepMin, KeepMax: c.KeepMax, Copies: c.Copies}
		for _, a := range result.Inventory.Assets {
			if a.Class != c.Name {
				continue
			}
			row.Jobs++
			if covered[a.Job] {
				row.Covered++
			}
			if tested[a.Job] {
				row.Tested++
			}
		}
		out = append(out, row)
	}
	slices.SortFunc(out, func(a, b Class) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// untested lists the jobs without a passed restore test that can be believed.
func untested(result compliance.Result) []Untested {
	title := map[string]string{}
	for _, a := range result.Inventory.Assets {
		title[a.Job] = a.Title
	}
	out := []Untested{}
	for _, p := range result.Proofs {
		row := Untested{Job: p.Job, Title: title[p.Job], Last: utc(p.Last), Verdict: p.Verdict}
		switch {
		case !p.Believed:
			row.Why = "phép kiểm tra không phát hiện bản sao cố ý làm hỏng nên kết quả chưa tin được"
		case !p.Passed.IsZero():
			continue
		case p.Last.IsZero():
			row.Why = "chưa kiểm tra phục hồi lần nào trong 13 tháng"
		default:
			row.Why = "đã kiểm tra nhưng chưa lần nào đạt trong 13 tháng"
		}
		out = append(out, row)
	}
	return out
}

func removed(result compliance.Result) []Removed {
	out := []Removed{}
	for _, a := range result.Inventory.Removed {
		out = append(out, Removed{Job: a.Asset.Job, Title: a.Asset.Title, At: utc(a.At)})
	}
	return out
}

// notCheckable lists what no program can decide, so that a clean report is not
// taken for more than it is.
func notCheckable() []NotCheckable {
	return []NotCheckable{
		{"Điều 16 khoản 1 điểm a", "Chữ ký số chuyên dùng công vụ trên dữ liệu quan trọng; số người giữ khóa và nơi cất khóa."},
		{"Điều 16 khoản 1 điểm b", "Kế hoạch sao lưu đã được ban hành; bản sao cất trên thiết bị lưu trữ ngoài có sổ giao nhận."},
		{"Điều 16 khoản 2 điểm a", "Quy trình sao lưu, phục hồi đã được ban hành và phổ biến."},
		{"Điều 16 khoản 2 điểm b", "Danh mục sao lưu đã được người có thẩm quyền phê duyệt; danh mục có đủ mọi dữ liệu của đơn vị hay không."},
		{"Điều 8 khoản 3 điểm a", "Mỗi máy chủ đã có đủ bốn loại: tệp cấu hình, ảnh hệ điều hành, cơ sở dữ liệu, dữ liệu nghiệp vụ."},
		{"Điều 16 khoản 2 điểm c", "Các ổ đĩa ảo nằm chung một kho lưu trữ vật lý, hoặc thư mục mạng trỏ ngược về chính máy chủ; an toàn vật lý của nơi lưu."},
		{"Điều 23 khoản 2 điểm b", "Nội dung dữ liệu có thuộc bí mật nhà nước hay không: phần mềm chỉ ghi điều đơn vị khai."},
		{"Điều 14", "Nhật ký của các hệ thống khác ngoài hệ thống sao lưu."},
		{"Kiểm tra phục hồi", "Người kiểm tra có độc lập với người vận hành hay không; dữ liệu có đúng nghiệp vụ ngoài các phép so sánh đã khai."},
	}
}
