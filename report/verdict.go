package report

import (
	"fmt"
	"strings"

	"saoluu/compliance"
)

// verdict says in one Vietnamese sentence what the head of the agency signs.
// Policy has no part in it.
func verdict(r Report) string {
	if !hasKind(r, compliance.Binding) {
		return "Không áp dụng bộ quy tắc bắt buộc nào: báo cáo này không kết luận về tuân thủ pháp luật."
	}
	t := r.Totals[compliance.Binding]
	var also []string
	for _, c := range []struct {
		n    int
		what string
	}{{t.Warn, "cần lưu ý"}, {t.Unknown, "thiếu dữ liệu"}, {t.Waived, "được miễn"}, {t.Pending, "chưa đến hạn"}} {
		if c.n > 0 {
			also = append(also, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	rest := ""
	if len(also) > 0 {
		rest = "; " + strings.Join(also, ", ")
	}
	due := t.Pass + t.Warn + t.Fail + t.Unknown + t.Waived
	switch {
	case t.Fail > 0:
		return fmt.Sprintf("Còn %d trên %d kết luận không đạt yêu cầu bắt buộc%s.", t.Fail, due, rest)
	case due == 0:
		return "Chưa có yêu cầu bắt buộc nào đến hạn để kết luận" + rest + "."
	case t.Warn+t.Unknown+t.Waived > 0:
		return fmt.Sprintf("Không có kết luận nào không đạt yêu cầu bắt buộc, nhưng chưa đạt đầy đủ: %d trên %d đạt%s.", t.Pass, due, rest)
	default:
		return fmt.Sprintf("Đạt toàn bộ %d kết luận về yêu cầu bắt buộc mà phần mềm kiểm tra được%s.", t.Pass, rest)
	}
}

func hasKind(r Report, kind compliance.Kind) bool {
	for _, p := range r.Packs {
		if p.Kind == kind {
			return true
		}
	}
	return false
}
