// Package spelling finds the name that a misspelt name probably stands for.
package spelling

// Nearest returns the candidate that is most similar to name, or "" if each of them
// differs from it in more than maxLetters letters or in every letter.
func Nearest(name string, candidates []string, maxLetters int) string {
	best, least := "", min(maxLetters+1, len(name))
	for _, candidate := range candidates {
		if d := distance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	return best
}

// distance is the Levenshtein distance of two names.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
