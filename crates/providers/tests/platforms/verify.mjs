// Verifies the tokens of the gallery with the platforms' own SDKs, or makes the same token with them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { inflateSync } from "node:zlib";
import { createHash, createHmac, createPublicKey, createPrivateKey, verify as verifyBytes } from "node:crypto";
import jsonwebtoken from "jsonwebtoken";
import * as jose from "jose";

const require = createRequire(import.meta.url);
const cases = JSON.parse(readFileSync(process.argv[2], "utf8"));

// Sets the clock of everything that runs in `body`.
function at(seconds, body) {
  const RealDate = Date;
  const now = seconds * 1000;
  globalThis.Date = class extends RealDate {
    constructor(...args) { args.length ? super(...args) : super(now); }
    static now() { return now; }
  };
  try { return body(); } finally { globalThis.Date = RealDate; }
}

// Verifies a JWT by jsonwebtoken and returns its claims.
function jwt(c, token = c.token) {
  const claims = jsonwebtoken.verify(token, c.verifies, { algorithms: [c.signed.jwt.algorithm] });
  assert.equal(claims.exp, c.expires);
  return claims;
}

// Verifies a JWT of any algorithm by jose.
async function byJose(c) {
  const { payload, protectedHeader } = await jose.jwtVerify(c.token, createPublicKey(c.verifies));
  assert.equal(payload.exp, c.expires);
  return { claims: payload, header: protectedHeader };
}

function header(token) {
  return JSON.parse(Buffer.from(token.split(".")[0], "base64url"));
}

// Asserts that the claims are those of an SDK's token. Ignored claims must exist in both, with the same type.
function sameClaims(token, other, ignored = []) {
  const [ours, theirs] = [token, other].map((text) => JSON.parse(Buffer.from(text.split(".")[1], "base64url")));
  for (const name of ignored) {
    assert.equal(typeof ours[name], typeof theirs[name], `${name} in ${JSON.stringify([ours, theirs])}`);
    delete ours[name];
    delete theirs[name];
  }
  assert.deepEqual(ours, theirs);
}

// Asserts that the claims are those of an SDK's token, and the header too.
function same(token, other, ignored = []) {
  sameClaims(token, other, ignored);
  assert.deepEqual(header(token), header(other));
}

const checks = {
  async livekit(c) {
    const { AccessToken, TokenVerifier } = await import("livekit-server-sdk");
    const claims = await new TokenVerifier("APIkey123", c.key).verify(c.token);
    assert.equal(claims.video.room, "lobby");
    assert.equal(claims.video.canPublish, false);
    const other = new AccessToken("APIkey123", c.key, { identity: c.parameters.identity, ttl: c.expires - c.issued });
    other.addGrant({ roomJoin: true, room: "lobby", canSubscribe: true, canPublish: false });
    assert.deepEqual(header(c.token), header(await other.toJwt()));
  },
  "twilio-video"(c) {
    const { AccessToken } = require("twilio").jwt;
    const account = c.signed.jwt.claims.sub, key = c.signed.jwt.claims.iss;
    const other = at(c.issued, () => {
      const token = new AccessToken(account, key, c.key, { identity: c.parameters.identity, ttl: c.expires - c.issued });
      token.addGrant(new AccessToken.VideoGrant({ room: c.parameters.room }));
      return token.toJwt();
    });
    same(c.token, other);
    jwt(c);
  },
  "vonage-video"(c) {
    const { tokenGenerate } = require("@vonage/jwt");
    const claims = jwt(c);
    assert.equal(claims.session_id, c.parameters.session);
    const other = at(c.issued, () => tokenGenerate(claims.application_id, c.key, { ttl: c.expires - c.issued, sub: "video",
      acl: claims.acl }));
    for (const name of ["application_id", "sub", "iat", "exp", "acl"]) {
      assert.deepEqual(claims[name], jsonwebtoken.decode(other)[name], name);
    }
    assert.deepEqual(header(c.token), header(other));
  },
  agora(c) {
    const { AccessToken2, ServiceRtc } = require("agora-token/src/AccessToken2.js");
    const ours = inflateSync(Buffer.from(c.token.slice(3), "base64"));
    // signature with its length, app ID with its length, issue time, expiry, salt
    const salt = ours.readUInt32LE(2 + 32 + 2 + 32 + 8);
    const issued = ours.readUInt32LE(2 + 32 + 2 + 32);
    const life = c.expires - c.issued;
    const other = new AccessToken2(c.signed.agora.appId, c.key, issued, life);
    other.salt = salt;
    const rtc = new ServiceRtc(c.parameters.channel, 0);
    rtc.add_privilege(ServiceRtc.kPrivilegeJoinChannel, life);
    other.add_service(rtc);
    assert.deepEqual(ours, inflateSync(Buffer.from(other.build().slice(3), "base64")));
    assert.ok(salt >= 1 && salt <= 99999999 && issued === c.issued);
  },
  cloudfront(c) {
    const { getSignedCookies } = require("@aws-sdk/cloudfront-signer");
    const decode = (text) => Buffer.from(text.replace(/-/g, "+").replace(/_/g, "=").replace(/~/g, "/"), "base64");
    const policy = decode(c.values.policy);
    assert.equal(JSON.parse(policy).Statement[0].Condition.DateLessThan["AWS:EpochTime"], c.expires);
    assert.ok(verifyBytes("sha256", policy, c.verifies, decode(c.values.signature)));
    const cookies = getSignedCookies({ keyPairId: "K2JCJMDEHXQW5F", privateKey: c.key, policy: policy.toString() });
    assert.equal(cookies["CloudFront-Policy"], c.values.policy);
    const ours = Object.fromEntries(c.token.split("; ").map((part) => part.split("=")));
    for (const name of Object.keys(cookies)) { assert.ok(name in ours, name); }
  },
  akamai(c) {
    const EdgeAuth = require("akamai-edgeauth");
    const auth = new EdgeAuth({ key: c.key, endTime: c.expires, algorithm: "sha256" });
    assert.equal(c.token, auth.generateACLToken(c.parameters.acl));
  },
  "media-cdn"(c) {
    const [text, signature] = c.token.split("~Signature=");
    const seed = Buffer.from(c.key, "base64url");
    const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
    const key = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" }));
    assert.ok(verifyBytes(null, Buffer.from(text), key, Buffer.from(signature, "base64url")));
    assert.equal(Buffer.from(text.match(/URLPrefix=([^~]*)/)[1], "base64url").toString(), "https://media.example.com/trailers/");
    assert.ok(text.endsWith(`~Expires=${c.expires}`));
  },
  wowza(c) {
    const parts = [c.key, `wowzatokenendtime=${c.expires}`].sort();
    const hash = createHash("sha256").update(`${c.parameters.stream}?${parts.join("&")}`).digest("base64");
    const url = hash.replace(/\+/g, "-").replace(/\//g, "_");
    assert.equal(c.token, `wowzatokenendtime=${c.expires}&wowzatokenhash=${url}`);
  },
  bunny(c) {
    const text = `${c.parameters.folder}${c.expires}token_path=${c.parameters.folder}`;
    assert.equal(c.token, "HS256-" + createHmac("sha256", c.key).update(text).digest("base64url"));
  },
  async "ivs-playback"(c) {
    const { claims, header } = await byJose(c);
    assert.deepEqual(header, { alg: "ES384", typ: "JWT" });
    assert.equal(claims["aws:channel-arn"], c.parameters.channel);
  },
  async "ivs-stage"(c) {
    const { claims, header } = await byJose(c);
    assert.ok(header.kid.startsWith("arn:aws:ivs:"));
    assert.match(claims.jti, /^[A-Za-z0-9_-]{1,64}$/);
    assert.deepEqual(claims.capabilities, { allow_publish: false, allow_subscribe: true });
    assert.equal(claims.version, "1.0");
  },
  async mux(c) {
    const { default: Mux } = require("@mux/mux-node");
    const signingKey = header(c.token).kid;
    const mux = new Mux({ tokenId: "none", tokenSecret: "none", jwtSigningKey: signingKey, jwtPrivateKey: c.key });
    for (const [type, token] of [["video", c.token], ["thumbnail", c.values.thumbnail], ["storyboard", c.values.storyboard]]) {
      jwt(c, token);
      const other = await mux.jwt.signPlaybackId(c.parameters.playback, { type, expiration: "1h" });
      sameClaims(token, other, ["exp"]);
    }
  },
  "cloudflare-stream"(c) {
    const claims = jwt(c);
    assert.equal(claims.kid, header(c.token).kid);
    assert.equal(header(c.token).typ, undefined);
  },
  jaas(c) {
    const claims = jwt(c);
    assert.deepEqual([claims.aud, claims.iss, claims.context.user.moderator], ["jitsi", "chat", "false"]);
  },
  "zoom-video-sdk"(c) {
    const claims = jwt(c);
    assert.deepEqual([claims.role_type, claims.version, claims.tpc], [0, 1, "lobby"]);
    assert.ok(claims.exp - claims.iat >= 1800 && claims.exp - claims.iat <= 172800);
  },
  async "100ms"(c) {
    const { SDK } = await import("@100mslive/server-sdk");
    const { room, role, user } = c.parameters;
    const other = await new SDK(c.signed.jwt.claims.access_key, c.key).auth.getAuthToken({ roomId: room, role, userId: user });
    same(c.token, other.token ?? other, ["iat", "nbf", "exp", "jti"]);
    const claims = jwt(c);
    assert.ok(claims.nbf < claims.iat);
  },
  "stream-video"(c) {
    const { StreamClient } = require("@stream-io/node-sdk");
    const { user, call } = c.parameters;
    const other = new StreamClient("key", c.key).generateCallToken({ user_id: user, call_cids: [call], role: "user", exp: c.expires });
    same(c.token, other, ["iat"]);
    jwt(c);
  },
  daily(c) { assert.equal(jwt(c).r, "lobby"); },
  "jw-player"(c) { assert.equal(jwt(c).resource, "/v2/media/jumBvHdL"); },
  opentok(c) {
    const OpenTok = require("opentok");
    const sdk = new OpenTok(c.signed.jwt.claims.iss, c.key);
    const other = sdk.generateToken(c.parameters.session, { role: "subscriber", expireTime: c.expires });
    same(c.token, other, ["iat", "create_time", "nonce"]);
    jwt(c);
  },
  frigate(c) { assert.deepEqual([jwt(c).sub, jwt(c).role], ["wall", "viewer"]); },
};

const verified = [];
for (const [name, c] of Object.entries(cases)) {
  assert.ok(checks[name], `no check for ${name}`);
  try {
    await checks[name](c);
  } catch (error) {
    console.error(`${name}: ${error.stack}`);
    process.exitCode = 1;
    continue;
  }
  verified.push(name);
}
console.log(JSON.stringify(verified));
