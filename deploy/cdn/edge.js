// What an edge runs before it answers: is the link Darkroom's, and still good? It is written for nginx with its
// JavaScript module (njs); docs/regions.md says how, and what other networks need. The secret is the first word of
// DARKROOM_CDN_SECRET_FILE; while it changes, the file may hold the old one as a second word.
import crypto from 'crypto';
import fs from 'fs';

const LINK = /^\/([0-9]{1,12})\.([A-Za-z0-9_-]{43})\/(outputs\/[A-Za-z0-9_][A-Za-z0-9._/-]*)$/;

function signature(secret, expires, key) {
    return crypto.createHmac('sha256', secret).update(`darkroom-cdn-1\n${expires}\n${key}`).digest('base64url');
}

function same(a, b) {
    let difference = a.length ^ b.length;
    for (let i = 0; i < a.length; i++) {
        difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
    }
    return difference === 0;
}

// The key that the path may fetch, or '' for a link that is wrong, changed or too old.
function keyOf(path, now, secrets) {
    const found = LINK.exec(path);
    if (!found || found[3].indexOf('..') >= 0 || now >= Number(found[1])) {
        return '';
    }
    for (let i = 0; i < secrets.length; i++) {
        if (same(signature(secrets[i], found[1], found[3]), found[2])) {
            return found[3];
        }
    }
    return '';
}

// For nginx: the variable $darkroom_key, from the path of the request.
function key(request) {
    const secrets = fs.readFileSync('/etc/nginx/darkroom-cdn-secret', 'utf8').split(/\s+/).filter((word) => word);
    return keyOf(request.uri, Date.now() / 1000, secrets);
}

export default {key, keyOf};
