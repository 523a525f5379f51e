// A program that manages keys with the types that openapi-typescript generates from the
// admin API's OpenAPI document. scripts/check-typescript compiles it and runs it against
// a server.
//
// Mutations tried, in the document: the type string for uses, another state, and a page
// whose member next may be absent. Each fails to compile.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

// Key is the record that this program expects. The compiler refuses the assignments
// below if the document gives one of these fields another type.
interface Key {
  id: string;
  hint: string;
  prefix: string;
  environment: string;
  name: string;
  notes: string;
  owner_id: string;
  user_id: string | null;
  user_disabled: boolean;
  tenant: string;
  scopes: string[];
  networks: string[];
  metadata: { [name: string]: string };
  state: "active" | "expired" | "user_disabled" | "disabled" | "revoked";
  created_at: string;
  updated_at: string;
  expires_at: string | null;
  idle_timeout: string | null;
  disabled_at: string | null;
  disabled_reason: string | null;
  revoked_at: string | null;
  revoked_reason: string | null;
  lineage_id: string;
  rotated_from: string | null;
  rotated_to: string | null;
  version: number;
  uses: number;
  last_used_at: string | null;
}

function setting(name: string): string {
  const value = process.env[name];
  assert(value, `${name} must be set`);
  return value;
}

const server = setting("KEYFOLD_SERVER");
const client = createClient<paths>({
  baseUrl: `${server}/auth`,
  headers: { "secret-key": setting("KEYFOLD_SECRET") },
});

// statusWith returns the status of a request that carries the token.
async function statusWith(token: string): Promise<number> {
  const response = await fetch(`${server}/secure`, { headers: { "api-key": token } });
  await response.text();
  return response.status;
}

// checkValues compares the values of a key with the types that the compiler assumes.
function checkValues(key: Key): void {
  assert.equal(typeof key.version, "number");
  assert.equal(typeof key.uses, "number");
  assert.equal(typeof key.user_disabled, "boolean");
  assert(Array.isArray(key.scopes) && Array.isArray(key.networks));
  assert(!Number.isNaN(Date.parse(key.created_at)));
  for (const time of [key.expires_at, key.revoked_at, key.disabled_at, key.last_used_at]) {
    assert(time === null || !Number.isNaN(Date.parse(time)));
  }
}

// expectStatus ends the program with the server's error if the status is another one.
function expectStatus(result: { response: Response; error?: unknown }, status: number): void {
  assert.equal(result.response.status, status, `${result.response.url}: ${JSON.stringify(result.error)}`);
}

const created = await client.POST("/keys", {
  body: { name: "ci", owner_id: "cust_42", scopes: ["reports:read"], metadata: { plan: "pro" }, ttl: "30d" },
});
expectStatus(created, 201);
assert(created.data);
const first: Key = created.data.key;
checkValues(first);
assert.equal(first.state, "active");
assert.equal(first.version, 1);
assert.equal(first.metadata["plan"], "pro");
assert.equal(await statusWith(created.data.token), 200);

const listed = await client.GET("/keys", { params: { query: { owner_id: "cust_42", state: "active", limit: 10 } } });
expectStatus(listed, 200);
assert(listed.data);
const keys: Key[] = listed.data.keys;
assert.deepEqual(keys.map((key) => key.id), [first.id]);
const next: string | null = listed.data.next;
assert.equal(next, null);

const rotated = await client.POST("/keys/{id}/rotate", {
  params: { path: { id: first.id } },
  body: { overlap: "0s" },
});
expectStatus(rotated, 201);
assert(rotated.data);
const second: Key = rotated.data.key;
checkValues(second);
assert.equal(second.rotated_from, first.id);
assert.equal(second.lineage_id, first.lineage_id);
assert.equal(await statusWith(created.data.token), 401);
assert.equal(await statusWith(rotated.data.token), 200);

const revoked = await client.POST("/keys/{id}/revoke", {
  params: { path: { id: second.id } },
  body: { reason: "the laptop was lost" },
});
expectStatus(revoked, 200);
assert(revoked.data);
const last: Key = revoked.data;
checkValues(last);
assert.equal(last.state, "revoked");
assert.equal(last.revoked_reason, "the laptop was lost");
assert.equal(await statusWith(rotated.data.token), 401);

const missing = await client.GET("/keys/{id}", { params: { path: { id: "0000000000000000" } } });
expectStatus(missing, 404);
assert(missing.error);
const problem: components["schemas"]["Problem"] = missing.error;
const code: string = problem.code;
assert.equal(code, "not_found");

console.log("created, listed, rotated and revoked a key");
