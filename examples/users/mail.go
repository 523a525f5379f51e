package main

import (
	"context"
	"fmt"
	"mime"
	"net"
	"net/smtp"
	"strings"
	"time"

	"github.com/keyfold/keyfold"
)

// mailer delivers one-time tokens by SMTP. It is a keyfold.Mailer.
type mailer struct {
	server string    // host:port
	auth   smtp.Auth // nil for none
	from   string    // address of the sender
	site   string    // base URL of the links in the letters: "https://example.com"
}

var _ keyfold.Mailer = (*mailer)(nil)

// letters holds the subject and the text for each purpose. The link is put into the text.
var letters = map[keyfold.OneTimePurpose]struct{ subject, text string }{
	keyfold.PurposeVerifyEmail:   {"Is this your address?", "To confirm it, open\n\n%s\n\nwithin a day. If you did not ask for this, do nothing."},
	keyfold.PurposeResetPassword: {"Set your password", "Open\n\n%s\n\nwithin 15 minutes. If you did not ask for this, do nothing: your password stays."},
	keyfold.PurposeChangeEmail:   {"Is this your new address?", "To use it from now on, open\n\n%s\n\nwithin a day. If you did not ask for this, do nothing."},
}

// SendOneTimeToken sends the letter, or gives up when ctx is done.
func (m *mailer) SendOneTimeToken(ctx context.Context, mail keyfold.IssuedOneTimeToken) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.server)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // ends reads and writes in progress
	host, _, _ := net.SplitHostPort(m.server)
	client, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	defer client.Close()
	if ok, _ := client.Extension("STARTTLS"); ok {
		if err := client.StartTLS(tlsConfig(host)); err != nil {
			return err
		}
	}
	if m.auth != nil {
		if err := client.Auth(m.auth); err != nil { // refused by net/smtp without TLS
			return err
		}
	}
	if err := client.Mail(m.from); err != nil {
		return err
	}
	if err := client.Rcpt(mail.To); err != nil {
		return err
	}
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(m.letter(mail))); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return client.Quit()
}

// letter returns the message (RFC 5322). The token comes after the # of the link.
// Browsers do not send that part, so that it does not appear in the logs of a server.
// The page posts it when its reader presses a button.
func (m *mailer) letter(mail keyfold.IssuedOneTimeToken) string {
	letter := letters[mail.Purpose]
	link := m.site + "/" + strings.ReplaceAll(mail.Purpose.String(), "_", "-") + "#" + mail.Token.Reveal()
	lines := []string{
		"From: " + m.from,
		"To: " + mail.To, // canonical: it holds no line break
		"Subject: " + mime.QEncoding.Encode("utf-8", letter.subject),
		"Date: " + time.Now().Format(time.RFC1123Z),
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=utf-8",
		"",
		fmt.Sprintf(letter.text, link),
		"",
	}
	return strings.ReplaceAll(strings.Join(lines, "\n"), "\n", "\r\n")
}
