package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"

	"github.com/keyfold/keyfold/store/mysql"
)

// The program and Keyfold share a pool.
func ExampleNewConnector() {
	connector, err := mysql.NewConnector("app:password@tcp(127.0.0.1:3306)/app")
	if err != nil {
		log.Fatal(err)
	}
	db := sql.OpenDB(connector) // connects at the first use
	defer db.Close()
	db.SetMaxOpenConns(16)
	open := func(ctx context.Context) (*mysql.Store, error) { return mysql.New(ctx, db) }
	_ = open

	// With another character set, text could be executed as SQL.
	_, err = mysql.NewConnector("app:password@tcp(127.0.0.1:3306)/app?charset=gbk")
	fmt.Println(err)
	// Output:
	// keyfold/mysql: the data source name must not set a character set other than utf8mb4: remove charset and collation, or set them to utf8mb4 and one of its collations
}
