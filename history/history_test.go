package history

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"saoluu/sources"
)

func fact(kind, of, value string) sources.Fact {
	return sources.Fact{Part: "paths", Kind: kind, Of: of, Value: value}
}

func TestCompare(t *testing.T) {
	before := []sources.Fact{
		fact(sources.FactSHA256, "/etc/same", "1"), fact(sources.FactMode, "/etc/same", "-rw-r--r--"),
		fact(sources.FactSHA256, "/etc/text", "1"),
		fact(sources.FactSHA256, "/etc/gone", "2"),
		fact(sources.FactSHA256, "/etc/mode", "3"), fact(sources.FactMode, "/etc/mode", "-rw-r--r--"), fact(sources.FactOwner, "/etc/mode", "0:0"),
		fact(sources.FactLink, "/etc/link", "a"), fact(sources.FactMode, "/etc/dir", "drwxr-xr-x"),
		fact(sources.FactSHA256, "/etc/busy", "4"),
		fact(sources.FactSHA256, "/etc/salted", "5"), fact(sources.FactSettled, "/etc/salted", "s"),
		fact(sources.FactFiles, "", "7"), fact(sources.FactSample, "", "mode=full"),
	}
	after := []sources.Fact{
		fact(sources.FactSHA256, "/etc/same", "1"), fact(sources.FactMode, "/etc/same", "-rw-r--r--"),
		fact(sources.FactSHA256, "/etc/text", "9"),
		fact(sources.FactSHA256, "/etc/mode", "3"), fact(sources.FactMode, "/etc/mode", "-rwxr-xr-x"), fact(sources.FactOwner, "/etc/mode", "1:0"),
		fact(sources.FactLink, "/etc/link", "b"), fact(sources.FactMode, "/etc/new", "drwxr-xr-x"),
		fact(sources.FactUnread, "/etc/busy", "changed"),
		fact(sources.FactSHA256, "/etc/salted", "6"), fact(sources.FactSettled, "/etc/salted", "s"),
		fact(sources.FactSHA256, "/etc/come", "8"), fact(sources.FactFiles, "", "8"),
	}
	want := []Change{
		{"paths", "/etc/busy", Changed, []string{"content"}, nil, "4", ""},
		{"paths", "/etc/come", Added, nil, nil, "", "8"},
		{"paths", "/etc/gone", Removed, nil, nil, "2", ""},
		{"paths", "/etc/link", Changed, []string{"link"}, []string{"link a -> b"}, "", ""},
		{"paths", "/etc/mode", Changed, []string{"mode", "owner"}, []string{"mode -rw-r--r-- -> -rwxr-xr-x", "owner 0:0 -> 1:0"}, "3", "3"},
		{"paths", "/etc/text", Changed, []string{"content"}, nil, "1", "9"},
	}
	if d := cmp.Diff(want, Compare(before, after)); d != "" {
		t.Error(d)
	}
	if got := Compare(before, before); len(got) != 0 {
		t.Errorf("the same differs: %v", got)
	}
}

// secrets are lines of many programs and devices, and what of them must not be shown.
var secrets = []struct{ line, secret string }{
	{"DB_PASSWORD=Hoa-Phuong-7", "Hoa-Phuong-7"},
	{`  "password": "Hoa-Phuong-7",`, "Hoa-Phuong-7"},
	{"password: 'Hoa Phuong 7'", "Phuong"},
	{"requirepass Hoa-Phuong-7", "Hoa-Phuong-7"},
	{"enable secret 5 $1$mERr$hx5rVt7rPNoS4wqbXKX7m0", "hx5rVt7rPNoS4wqbXKX7m0"},
	{"enable secret 9 abcd", "abcd"},
	{"username admin privilege 15 password 7 0822455D0A16", "0822455D0A16"},
	{"snmp-server community noibo RO", "noibo"},
	{"snmp-server host 10.0.0.9 version 2c community noibo", "noibo"},
	{"tacacs-server key 7 070C285F4D06", "070C285F4D06"},
	{"radius-server host 10.0.0.8 key hoaphuong", "hoaphuong"},
	{"crypto isakmp key hoaphuong address 0.0.0.0", "hoaphuong"},
	{" neighbor 10.0.0.7 password hoaphuong", "hoaphuong"},
	{"ip ospf message-digest-key 1 md5 hoaphuong", "hoaphuong"},
	{"   set password ENC SH2Yl2bXabc", "SH2Yl2bXabc"},
	{"   set psksecret ENC qweASD12", "qweASD12"},
	{`set system root-authentication encrypted-password "$6$abc$defghi"`, "defghi"},
	{`set snmp community noibo authorization read-only`, "noibo"},
	{`set security ike policy p pre-shared-key ascii-text "$9$abcdef"`, "abcdef"},
	{"/interface wireless security-profiles set wpa2-pre-shared-key=hoaphuong", "hoaphuong"},
	{"add name=u1 password=hoaphuong profile=p", "hoaphuong"},
	{"PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", "yAnz5TF"},
	{"PresharedKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=", "yAnz5TF"},
	{"url = postgresql://app:hoaphuong@db/qlvb", "hoaphuong"},
	{"root:$y$j9T$abc$def:19000:0:99999:7:::", "j9T"},
	{"admin:$apr1$abc$defghijkl", "defghijkl"},
	{"userPassword: {SSHA}Zm9vYmFyYmF6", "Zm9vYmFyYmF6"},
	{"deploy eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJhbGciOi"},
	{"x = 9f86d081884c7d659a2feaa0c55ad015", "9f86d081"},
	{"  wpa-psk hoaphuong", "hoaphuong"},
	{"Authorization: Basic YXBwOmhvYQ==", "YXBwOmhvYQ"},
	{"define('DB_PASSWORD', 'hoaphuong');", "hoaphuong"},
	{"$cfg['Servers'][$i]['password'] = 'hoaphuong';", "hoaphuong"},
	{"$config['des_key'] = 'hoaphuong';", "hoaphuong"},
	{"$dbpass='hoaphuong';", "hoaphuong"},
	{"smtp_pass = hoaphuong", "hoaphuong"},
	{"'password' => 'hoaphuong',", "hoaphuong"},
	{"<password>hoaphuong</password>", "hoaphuong"},
	{`<entry key="db.password">hoaphuong</entry>`, "hoaphuong"},
	{`  "password" : "hoaphuong",`, "hoaphuong"},
	{"dbpwd: hoaphuong", "hoaphuong"},
	{"rootpw hoaphuong", "hoaphuong"},
	{"wep_key0=hoaphuong", "hoaphuong"},
	{"define('AUTH_SALT', 'hoaphuong');", "hoaphuong"},
	{"0 1 * * * root mysql -u root -phoaphuong qlvb", "hoaphuong"},
	{"0 1 * * * root curl -s -u app:hoaphuong https://so.example/", "hoaphuong"},
	{"sshpass -p hoaphuong ssh may", "hoaphuong"},
	{"Environment=A=1 TOKEN=hoaphuong", "hoaphuong"},
	{`bob Cleartext-Password := "hoaphuong"`, "hoaphuong"},
	{"//nas/so /mnt cifs username=u,password=hoaphuong 0 0", "hoaphuong"},
	{"openssl rsa -passin pass:hoaphuong", "hoaphuong"},
	{`"app" "md5d41d8cd98f00b204e9800998ecf8427e"`, "d41d8cd9"},
	{"snmp-server host 10.0.0.9 version 2c noibo", "noibo"},
	{"snmp-server user u g v3 auth sha hoaphuong priv aes 128 bachdang", "hoaphuong"},
	{"snmp-server user u g v3 auth sha hoaphuong priv aes 128 bachdang", "bachdang"},
	{"auth: basic hoaphuong", "hoaphuong"},
	{"ldap_default_authtok = hoaphuong", "hoaphuong"},
	{"basic_auth: user:hoaphuong", "hoaphuong"},
	{" standby 1 authentication text noibo", "noibo"},
	{"//nas/so /mnt cifs credentials=/etc/so.cred,password=hoaphuong 0 0", "hoaphuong"},
	{"proxy_pass http://127.0.0.1; proxy_set_header Authorization hoaphuong;", "hoaphuong"},
	{"tokenfile /etc/x password hoaphuong", "hoaphuong"},
	{"rocommunity noibo 10.0.0.0/8", "noibo"},
	{"AMQP=amqp://u:hoa/phuong@mq/", "phuong"},
	{"https://u:hoa@phuong@so.example/", "phuong"},
	{"url = https://hoaphuong@git.example/so.git", "hoaphuong"},
	{"JWT=hoaphuong", "hoaphuong"},
	{"mat_khau = hoaphuong", "hoaphuong"},
	{"Mật khẩu: hoaphuong", "hoaphuong"},
	{"define('LOGGED_IN_KEY', 'hoaphuong');", "hoaphuong"},
	{`mysqli_connect("localhost", "root", "hoaphuong", "qlvb");`, "hoaphuong"},
	{"$db = new PDO($dsn, 'root', 'hoa phuong');", "phuong"},
	{"0 1 * * * root redis-cli -a hoaphuong save", "hoaphuong"},
	{"0 1 * * * root ldapsearch -D cn=a -w hoaphuong", "hoaphuong"},
	{"0 1 * * * root smbclient //nas/so -U user%hoaphuong", "hoaphuong"},
	{"0 1 * * * root sqlcmd -U sa -P hoaphuong", "hoaphuong"},
	{"0 1 * * * root sqlplus system/hoaphuong@db", "hoaphuong"},
	{"0 1 * * * root 7z a -phoaphuong x.7z /srv", "hoaphuong"},
	{`echo "app:hoaphuong" | chpasswd`, "hoaphuong"},
	{"ldap_default_authtok = hoaphuong", "hoaphuong"},
	{"masterauth hoaphuong", "hoaphuong"},
	{"user default on >hoaphuong ~* +@all", "hoaphuong"},
	{"wpa_psk=hoaphuong", "hoaphuong"},
	{"    stats auth admin:hoaphuong", "hoaphuong"},
	{"set snmp trap-group noibo targets 192.0.2.1", "noibo"},
}

func TestSecretsAreMasked(t *testing.T) {
	for _, s := range secrets {
		got := strings.Join(Mask("before\n"+s.line+"\nafter\n"), "\n")
		if strings.Contains(got, s.secret) || !strings.Contains(got, hidden) {
			t.Errorf("%q is shown as %q", s.line, got)
		}
		// And nowhere else in a difference.
		if text := Diff("/etc/x.conf", []byte("a\n"), []byte("a\n"+s.line+"\n")); strings.Contains(text, s.secret) {
			t.Errorf("the difference shows %q", text)
		}
	}
	for name, block := range map[string]string{
		"pem":        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\ndef-key\n-----END OPENSSH PRIVATE KEY-----\n",
		"json":       "{\n  \"password\":\n    \"def-key\",\n  \"port\": 1\n}\n",
		"xml":        "<password>\n  def-key\n</password>\n",
		"continued":  "password = \\\n  def-key\nport = 1\n",
		"yaml":       "password: |\n  def-key\n  more def-key\nport: 1\n",
		"list":       "passwords:\n- def-key\n- def-key\nport: 1\n",
		"deep list":  "auth:\n  api_keys:\n    - def-key\n",
		"anchor":     "password: &a\n  def-key\n",
		"kept lines": "password: |2+\n  def-key\n",
		"two lines":  "\"password\": \"def\n  def-key\"\n",
		"alone":      "machine a\npassword\ndef-key\n",
		"ssh2":       "---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\ndef-key\n---- END SSH2 ENCRYPTED PRIVATE KEY ----\n",
		"fortios":    "config system snmp community\n    edit 1\n        set name \"def-key\"\n    next\nend\n",
		"routeros":   "/snmp community\nset [ find default=yes ] name=def-key\n/system identity\nset name=bien\n",
		"kubernetes": "kind: Secret\ndata:\n  whatever: ZGVmLWtleQ==def-key\n",
	} {
		if got := strings.Join(Mask(block), "\n"); strings.Contains(got, "def-key") {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What is no secret stays, or nobody could tell what was changed.
func TestTheRestIsShown(t *testing.T) {
	for _, line := range []string{
		"listen 443 ssl;", "PasswordAuthentication no", "PermitRootLogin prohibit-password", "ssl_certificate_key /etc/ssl/private/site.pem;",
		"UUID=1b2c3d4e-1111-2222-3333-444455556666 / ext4 defaults 0 1", "net.ipv4.conf.all.send_redirects = 0",
		"proxy_pass http://127.0.0.1:8080;", "fastcgi_pass unix:/run/php.sock;", "proxy_cache_bypass $cookie_x;", "cp a b && mysql -u root qlvb",
		"thu:x:1999:1999::/home/thu:/bin/bash", "curl -s https://so.example/", "hostname bien", " ip address 192.0.2.1 255.255.255.0", "interface GigabitEthernet0/1", "include /usr/share/nginx/Modules-Enabled/50-mod-http.conf;",
		"account\t[success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so", "AUTH_METHOD=none", "git clone ssh://git@git.example/so.git", "Pin: release a=stable",
		"/system identity", "set name=bien", "linux-image-6.1.0-18-amd64\t6.1.76-1\tamd64\tii", "HostKey /etc/ssh/ssh_host_ed25519_key",
	} {
		if got := Mask(line)[0]; got != line {
			t.Errorf("%q is shown as %q", line, got)
		}
	}
}

func TestDiff(t *testing.T) {
	for _, tc := range []struct{ name, file, before, after, want string }{
		{"text", "/etc/a", "one\ntwo\n", "one\n2\n", "--- before\n+++ after\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n"},
		{"a secret", "/etc/a", "password = x\nport = 1\n", "password = y\nport = 1\n", "--- before\n+++ after\n@@ -1,2 +1,2 @@\n-password = ***\n+password = ***\n port = 1\n"},
		{"added", "/etc/a", "", "one\n", "--- before\n+++ after\n@@ -0,0 +1,1 @@\n+one\n"},
		{"binary", "/etc/a", "\x00\x01", "\x00\x02", "(not shown: not text)\n"},
		{"shadow", "/etc/shadow", "root:x:1\n", "root:y:1\n", "(not shown: the file holds secrets)\n"},
		{"an older pgpass", "/srv/.pgpass.old", "a:b:c:d:e\n", "a:b:c:d:f\n", "(not shown: the file holds secrets)\n"},
	} {
		if got := Diff(tc.file, []byte(tc.before), []byte(tc.after)); got != tc.want {
			t.Errorf("%s:\n%s", tc.name, cmp.Diff(tc.want, got))
		}
	}
}

// However a text is cut, what is masked in it whole is not shown, and no number of a line
// is left in a difference.
func FuzzDiff(f *testing.F) {
	for _, s := range secrets {
		f.Add("a\n", s.line+"\nb\n")
	}
	f.Add("a", "a\r\n\x00")
	f.Fuzz(func(t *testing.T, before, after string) {
		if got := Diff("/etc/a", []byte(before), []byte(after)); strings.Contains(got, mark) {
			t.Errorf("%q", got)
		}
	})
}
