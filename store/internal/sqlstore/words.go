package sqlstore

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/keyfold/keyfold/query/model"
)

const (
	// wordAge bounds how long a process relies on a word being stored. A backup that
	// is restored may lack it.
	wordAge = 10 * time.Minute

	maxWritten    = 4096    // words; user agents are the clients' own texts
	maxWordsBytes = 4 << 20 // of the texts that are remembered
)

// wordMemory remembers words: those that were written, because writing them again
// with each batch takes longer than the events, and the texts that were read. Its
// methods do nothing for a nil memory.
type wordMemory struct {
	sync.Mutex
	written map[int64]writtenWord
	texts   map[int64]string
	bytes   int
}

type writtenWord struct {
	usedAt int64
	at     time.Time
}

func newWordMemory() *wordMemory {
	return &wordMemory{written: map[int64]writtenWord{}, texts: map[int64]string{}}
}

// unknown returns the words that have to be written.
func (m *wordMemory) unknown(words []model.Word) []model.Word {
	if m == nil {
		return words
	}
	m.Lock()
	defer m.Unlock()
	return slices.DeleteFunc(words, func(word model.Word) bool {
		written, known := m.written[word.ID]
		return known && written.usedAt >= word.UsedAt && time.Since(written.at) < wordAge
	})
}

// wrote remembers words whose transaction is committed.
func (m *wordMemory) wrote(words []model.Word) {
	if m == nil || len(words) == 0 {
		return
	}
	m.Lock()
	defer m.Unlock()
	if len(m.written)+len(words) > maxWritten {
		clear(m.written)
	}
	now := time.Now()
	for _, word := range words[:min(len(words), maxWritten)] {
		m.written[word.ID] = writtenWord{usedAt: word.UsedAt, at: now}
	}
}

// forget is for words that may have been deleted.
func (m *wordMemory) forget() {
	if m == nil {
		return
	}
	m.Lock()
	defer m.Unlock()
	clear(m.written)
}

func (m *wordMemory) text(id int64) (text string, known bool) {
	if m == nil {
		return "", false
	}
	m.Lock()
	defer m.Unlock()
	text, known = m.texts[id]
	return text, known
}

func (m *wordMemory) keep(words []model.Word) {
	if m == nil {
		return
	}
	m.Lock()
	defer m.Unlock()
	for _, word := range words {
		if _, known := m.texts[word.ID]; known {
			continue
		}
		if m.bytes > maxWordsBytes {
			clear(m.texts)
			m.bytes = 0
		}
		m.texts[word.ID] = word.Word
		m.bytes += len(word.Word) + 64
	}
}

// wordsAtOnce is the number of ids that the query WordsByID takes.
const wordsAtOnce = 16

// texts returns the words with those ids. Words that do not exist are not in it.
func (e *Engine) texts(ctx context.Context, q Querier, ids []int64) (map[int64]string, error) {
	texts := make(map[int64]string, len(ids))
	var missing []int64
	for _, id := range ids {
		if text, known := e.words.text(id); known {
			texts[id] = text
		} else {
			missing = append(missing, id)
		}
	}
	for some := range slices.Chunk(missing, wordsAtOnce) {
		n := padded(some)
		words, err := q.WordsByID(ctx, n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], n[8], n[9], n[10], n[11], n[12], n[13], n[14], n[15])
		if err != nil {
			return nil, err
		}
		e.words.keep(words)
		for _, word := range words {
			texts[word.ID] = word.Word
		}
	}
	return texts, nil
}

// padded fills up the arguments of a query with the last of its ids.
func padded(ids []int64) (all [wordsAtOnce]int64) {
	for i := range all {
		all[i] = ids[min(i, len(ids)-1)]
	}
	return all
}
