package fromenv_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"

	"github.com/keyfold/keyfold"
	"github.com/keyfold/keyfold/fromenv"
	"github.com/keyfold/keyfold/httpadapter/admin"
	"github.com/keyfold/keyfold/store/memory"
	"github.com/keyfold/keyfold/store/postgres"
	"github.com/keyfold/keyfold/store/sqlite"
)

func ExampleRead() {
	config, err := fromenv.ReadConfig(&fromenv.Source{
		File:     os.DevNull, // read no file
		Environ:  []string{"KEYFOLD_DATABASE_URL=postgres://app:pa$WORD@db.example.com/keys", "KEYFOLD_KEY_TTL=30d"},
		Settings: []fromenv.Setting{{Variable: "KEYFOLD_ADDR", Value: ":9090", From: "--addr"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(config.Database, config.Addr, config.Options().KeyTTL)
	fmt.Println(config.Secret, config.Secret.IsSet())

	_, err = fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: []string{"KEYFOLD_KEY_TTL=a month", "KEYFOLD_SECERT=x"}})
	fmt.Println(err)
	// Output:
	// postgres://db.example.com/keys :9090 720h0m0s
	// [no secret] false
	// keyfold: KEYFOLD_SECERT is not a Keyfold variable; did you mean KEYFOLD_SECRET?
	// keyfold: KEYFOLD_KEY_TTL must be a duration above zero, such as "15d" or "1d12h", or "never"
}

func ExampleOpen() {
	// This program can use SQLite and PostgreSQL. KEYFOLD_DATABASE_URL says which.
	ctx := context.Background()
	app, err := fromenv.Open(ctx, sqlite.Opener{}, postgres.Opener{})
	if err != nil {
		log.Fatal(err)
	}
	defer app.Close(ctx)

	handler, err := admin.Handler(app.Service, admin.Options{
		Secret:            app.Config.Secret.Reveal(),
		PreviousSecret:    app.Config.PreviousSecret.Reveal(),
		AllowShortSecrets: app.Config.ShortSecret,
		TrustedProxies:    app.Config.TrustedProxies,
		HideDocs:          app.Config.HideDocs,
	})
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/auth/", http.StripPrefix("/auth", handler))
	log.Fatal(http.ListenAndServe(app.Config.Addr, nil))
}

func ExampleConfig_Open() {
	dir, err := os.MkdirTemp("", "keyfold-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	config, err := fromenv.ReadConfig(&fromenv.Source{
		File: os.DevNull, Environ: []string{"KEYFOLD_DATABASE_URL=sqlite:" + filepath.Join(dir, "keys.db"), "KEYFOLD_PREFIX=acme"},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	app, err := config.Open(ctx, sqlite.Opener{})
	if err != nil {
		log.Fatal(err)
	}
	defer app.Close(ctx)
	_, token, err := app.Service.CreateKey(ctx, keyfold.NewKey{Name: "ci"})
	fmt.Println(token.Reveal()[:5], err)
	// Output: acme_ <nil>
}

func ExampleConfig_Options() {
	// This program creates its Service itself, with its own store.
	config, err := fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: []string{"KEYFOLD_USAGE=sync"}})
	if err != nil {
		log.Fatal(err)
	}
	options := config.Options()
	options.DisableCache = true
	svc, err := keyfold.New(memory.New(), options)
	if err != nil {
		log.Fatal(err)
	}
	defer svc.Close(context.Background())
	fmt.Println(options.Usage == keyfold.UsageSync)
	// Output: true
}

func ExampleConfig_OpenStore() {
	config, err := fromenv.ReadConfig(&fromenv.Source{File: os.DevNull, Environ: []string{"KEYFOLD_DATABASE_URL=mysql://app:secret@h/keys"}})
	if err != nil {
		log.Fatal(err)
	}
	_, err = config.OpenStore(context.Background(), sqlite.Opener{}, postgres.Opener{})
	fmt.Println(err)
	// Output: keyfold: KEYFOLD_DATABASE_URL selects mysql://h/keys, but this program supports only sqlite, postgres
}

func ExampleParseDatabase() {
	db, err := fromenv.ParseDatabase("--db", "postgres://app:hunter-two@db.example.com:5432/keys?sslmode=require")
	fmt.Println(db, db.Engine(), err)
	_, err = fromenv.ParseDatabase("--db", "postgres://app:hunter/two@db.example.com/keys")
	fmt.Println(err)
	// Output:
	// postgres://db.example.com:5432/keys postgres <nil>
	// keyfold: --db is not a valid URL; write characters such as @ / # % in a password as %40 %2F %23 %25
}

func ExampleSecret() {
	secret := fromenv.NewSecret("hunter-two")
	fmt.Printf("%s %+v %d characters\n", secret, struct{ S fromenv.Secret }{secret}, len(secret.Reveal()))
	// Output: [secret] {S:[secret]} 10 characters
}

func ExampleVariables() {
	for _, v := range fromenv.Variables() {
		if v.Name == "KEYFOLD_KEY_TTL" {
			fmt.Println(v.Name, v.Default, v.Aliases, v.Secret)
		}
	}
	// Output: KEYFOLD_KEY_TTL 15d [FASTAPI_AUTH_AUTOMATIC_EXPIRATION FAST_API_SIMPLE_SECURITY_AUTOMATIC_EXPIRATION] false
}
