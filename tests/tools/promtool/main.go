// Prometheus's own storage and query engine, for expressions over what was really scraped. Reads one JSON document on
// stdin: scrapes, each with its time, its target's labels and its text; and queries, each an expression with a range and
// a step. Writes one on stdout: the series of each query. As Prometheus does with the chart's monitors, it honours labels
// (those of the scrape go before those of the target, an empty one too) and marks a series stale that a scrape no longer
// has; a scrape without text is one that failed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb"
)

type asked struct {
	Scrapes []scrape
	Queries []query
}

type scrape struct {
	At          int64 // Unix milliseconds
	Target      map[string]string
	ContentType string
	Text        string
}

type query struct {
	Expr             string
	Start, End, Step int64 // milliseconds
}

type series struct {
	Labels  map[string]string `json:"labels"`
	Samples [][2]float64      `json:"samples"` // Unix seconds, value; without those that are no number
}

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(in io.Reader, out io.Writer) error {
	var all asked
	if err := json.NewDecoder(in).Decode(&all); err != nil {
		return fmt.Errorf("what is asked: %w", err)
	}
	dir, err := os.MkdirTemp("", "vto-tsdb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	db, err := tsdb.Open(dir, nil, nil, tsdb.DefaultOptions(), nil)
	if err != nil {
		return err
	}
	defer db.Close()
	known := map[string]map[string]labels.Labels{}
	for _, one := range all.Scrapes {
		target := labels.FromMap(one.Target).String()
		if known[target], err = store(db, one, known[target]); err != nil {
			return fmt.Errorf("the scrape of %s: %w", target, err)
		}
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 50_000_000, Timeout: time.Minute, EnableAtModifier: true, EnableNegativeOffset: true,
	})
	answers := make([][]series, 0, len(all.Queries))
	for _, one := range all.Queries {
		answer, err := evaluate(engine, db, one)
		if err != nil {
			return fmt.Errorf("%s: %w", one.Expr, err)
		}
		answers = append(answers, answer)
	}
	return json.NewEncoder(out).Encode(answers)
}

// store takes one scrape and returns its series; those that were before and are no more end here.
func store(db *tsdb.DB, one scrape, before map[string]labels.Labels) (map[string]labels.Labels, error) {
	parser, err := textparse.New([]byte(one.Text), one.ContentType, labels.NewSymbolTable(), textparse.ParserOptions{})
	if err != nil {
		return nil, err
	}
	appender := db.Appender(context.Background())
	now := map[string]labels.Labels{}
	for {
		entry, err := parser.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if entry != textparse.EntrySeries {
			continue
		}
		_, _, sample := parser.Series()
		var scraped labels.Labels
		parser.Labels(&scraped)
		whole := labels.NewBuilder(scraped)
		for name, value := range one.Target {
			if !scraped.Has(name) {
				whole.Set(name, value)
			}
		}
		series := whole.Labels()
		now[series.String()] = series
		if _, err := appender.Append(0, series, one.At, sample); err != nil {
			return nil, err
		}
	}
	for name, series := range before {
		if _, lasts := now[name]; !lasts {
			if _, err := appender.Append(0, series, one.At, math.Float64frombits(value.StaleNaN)); err != nil {
				return nil, err
			}
		}
	}
	return now, appender.Commit()
}

func evaluate(engine *promql.Engine, db *tsdb.DB, one query) ([]series, error) {
	ctx := context.Background()
	step := time.Duration(one.Step) * time.Millisecond
	query, err := engine.NewRangeQuery(ctx, db, nil, one.Expr, time.UnixMilli(one.Start), time.UnixMilli(one.End), step)
	if err != nil {
		return nil, err
	}
	defer query.Close()
	matrix, err := query.Exec(ctx).Matrix()
	if err != nil {
		return nil, err
	}
	found := make([]series, 0, len(matrix))
	for _, line := range matrix {
		samples := make([][2]float64, 0, len(line.Floats))
		for _, point := range line.Floats {
			if !math.IsNaN(point.F) && !math.IsInf(point.F, 0) {
				samples = append(samples, [2]float64{float64(point.T) / 1000, point.F})
			}
		}
		if len(samples) > 0 {
			found = append(found, series{Labels: line.Metric.Map(), Samples: samples})
		}
	}
	return found, nil
}
