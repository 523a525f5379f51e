package testdb

import (
	"context"
	"errors"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

var mongodb = server{
	name:     "MongoDB",
	variable: "KEYFOLD_TEST_MONGODB_DSN",
	usual:    "mongodb://127.0.0.1:27017/?serverSelectionTimeoutMS=2000",
	open:     openMongo,
	database: mongoDatabase,
}

var errMongoForm = errors.New("want a URL like mongodb://user:password@host:27017/?authSource=admin")

// mongoDatabase inserts the name between the hosts and the parameters. It does not use
// net/url, which cannot parse a URL with several hosts.
func mongoDatabase(dsn, name string) (string, error) {
	scheme, rest, ok := strings.Cut(dsn, "://")
	if !ok || !strings.HasPrefix(scheme, "mongodb") {
		return "", errMongoForm
	}
	rest, parameters, _ := strings.Cut(rest, "?")
	hosts, _, _ := strings.Cut(rest, "/")
	if parameters != "" {
		name += "?" + parameters
	}
	return scheme + "://" + hosts + "/" + name, nil
}

type mongoAdmin struct{ client *mongo.Client }

func openMongo(ctx context.Context, dsn string) (admin, error) {
	config := options.Client().ApplyURI(dsn)
	if config.Validate() != nil {
		return nil, errMongoForm // the error of the driver can contain a part of the connection string
	}
	client, err := mongo.Connect(config)
	if err != nil {
		return nil, errMongoForm
	}
	if err := client.Ping(ctx, nil); err != nil {
		_ = client.Disconnect(ctx)
		return nil, err
	}
	return mongoAdmin{client}, nil
}

// create does nothing, because the first write creates the database.
func (a mongoAdmin) create(context.Context, string) error { return nil }

func (a mongoAdmin) drop(ctx context.Context, name string) error {
	return a.client.Database(name).Drop(ctx)
}

func (a mongoAdmin) names(ctx context.Context) ([]string, error) {
	all, err := a.client.ListDatabaseNames(ctx, bson.D{})
	var names []string
	for _, name := range all {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, err
}

func (a mongoAdmin) close() { _ = a.client.Disconnect(context.Background()) }
