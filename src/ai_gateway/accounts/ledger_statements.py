"""The statements of the ledger, in SQL that both engines support.

Sums are cast, since PostgreSQL's sums of BIGINT are wider than BIGINT.
"""

INSERT = """INSERT INTO records (at, id, request_id, ended_at, first_byte_ms, total_bucket, input, output, cost,
    first_bucket, cache_read, cache_write, cache_write_1h, input_audio, input_image, reasoning, output_audio,
    output_image, details, searches, search_cost, project_id, key_id, wire, operation, model, stream, provider,
    upstream_model, service_tier, ending, basis, status, code, price)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
    $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35)"""
IS_THERE = "SELECT 1 FROM records WHERE at = $1 AND id = $2"
PRUNED_BEFORE = "SELECT value FROM meta WHERE name = 'pruned_before'"
ADD_TO_ROLLUPS = """INSERT INTO rollups (width, start, project_id, key_id, model, upstream_model, provider, operation,
    service_tier, requests, errors, lost, estimated, unpriced, input, output, cache_read, cache_write, cache_write_1h,
    input_audio, input_image, reasoning, output_audio, output_image, searches, searching, search_cost, cost)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
    $24, $25, $26, $27, $28)
    ON CONFLICT (width, start, project_id, key_id, model, upstream_model, provider, operation, service_tier)
    DO UPDATE SET
    requests = rollups.requests + excluded.requests, errors = rollups.errors + excluded.errors,
    lost = rollups.lost + excluded.lost, estimated = rollups.estimated + excluded.estimated,
    unpriced = rollups.unpriced + excluded.unpriced, input = rollups.input + excluded.input,
    output = rollups.output + excluded.output, cache_read = rollups.cache_read + excluded.cache_read,
    cache_write = rollups.cache_write + excluded.cache_write,
    cache_write_1h = rollups.cache_write_1h + excluded.cache_write_1h,
    input_audio = rollups.input_audio + excluded.input_audio,
    input_image = rollups.input_image + excluded.input_image, reasoning = rollups.reasoning + excluded.reasoning,
    output_audio = rollups.output_audio + excluded.output_audio,
    output_image = rollups.output_image + excluded.output_image, searches = rollups.searches + excluded.searches,
    searching = rollups.searching + excluded.searching,
    search_cost = rollups.search_cost + excluded.search_cost, cost = rollups.cost + excluded.cost"""
ROLL_UP_TIME = """INSERT INTO rollups (width, start, project_id, key_id, model, upstream_model, provider, operation,
    service_tier, requests, errors, lost, estimated, unpriced, input, output, cache_read, cache_write, cache_write_1h,
    input_audio, input_image, reasoning, output_audio, output_image, searches, searching, search_cost,
    cost)
    SELECT CAST($3 AS BIGINT), at / (CAST($3 AS BIGINT) * 1000) * CAST($3 AS BIGINT), project_id,
    COALESCE(key_id, ''), model, upstream_model, provider, operation, COALESCE(service_tier, ''),
    COUNT(*), SUM(CASE WHEN ending IN ('failed', 'broken') THEN 1 ELSE 0 END),
    SUM(CASE WHEN ending = 'lost' THEN 1 ELSE 0 END), SUM(CASE WHEN basis = 'estimated' THEN 1 ELSE 0 END),
    SUM(CASE WHEN cost IS NULL THEN 1 ELSE 0 END), SUM(input), SUM(output), SUM(cache_read), SUM(cache_write),
    SUM(cache_write_1h), SUM(input_audio), SUM(input_image), SUM(reasoning), SUM(output_audio), SUM(output_image),
    SUM(searches), SUM(CASE WHEN searches > 0 THEN 1 ELSE 0 END), SUM(search_cost), COALESCE(SUM(cost), 0)
    FROM records WHERE at >= $1 AND at < $2 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9"""
DROP_ROLLUPS = "DELETE FROM rollups WHERE start >= $1 AND start < $2"
KEYS_USED = """INSERT INTO key_uses (key_id, at) VALUES ($1, $2)
    ON CONFLICT (key_id) DO UPDATE SET at = excluded.at WHERE key_uses.at < excluded.at"""
LAST_USES = "SELECT key_id, at FROM key_uses"
SUMS_OF_ROLLUPS = """SELECT start,
    CASE WHEN $4 = 1 THEN project_id END, CASE WHEN $5 = 1 THEN key_id END, CASE WHEN $6 = 1 THEN model END,
    CASE WHEN $7 = 1 THEN upstream_model END, CASE WHEN $8 = 1 THEN provider END,
    CASE WHEN $9 = 1 THEN operation END, CASE WHEN $10 = 1 THEN service_tier END,
    CAST(SUM(requests) AS BIGINT), CAST(SUM(errors) AS BIGINT), CAST(SUM(lost) AS BIGINT),
    CAST(SUM(estimated) AS BIGINT), CAST(SUM(unpriced) AS BIGINT), CAST(SUM(input) AS BIGINT),
    CAST(SUM(output) AS BIGINT), CAST(SUM(cache_read) AS BIGINT), CAST(SUM(cache_write) AS BIGINT),
    CAST(SUM(cache_write_1h) AS BIGINT), CAST(SUM(input_audio) AS BIGINT), CAST(SUM(input_image) AS BIGINT),
    CAST(SUM(reasoning) AS BIGINT), CAST(SUM(output_audio) AS BIGINT), CAST(SUM(output_image) AS BIGINT),
    CAST(SUM(searches) AS BIGINT), CAST(SUM(searching) AS BIGINT), CAST(SUM(search_cost) AS BIGINT),
    CAST(SUM(cost) AS BIGINT)
    FROM rollups WHERE width = $1 AND start >= $2 AND start < $3 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"""
SUMS_OF_RECORDS = """SELECT at / 60000 * 60,
    CASE WHEN $3 = 1 THEN project_id END, CASE WHEN $4 = 1 THEN COALESCE(key_id, '') END,
    CASE WHEN $5 = 1 THEN model END, CASE WHEN $6 = 1 THEN upstream_model END, CASE WHEN $7 = 1 THEN provider END,
    CASE WHEN $8 = 1 THEN operation END, CASE WHEN $9 = 1 THEN COALESCE(service_tier, '') END,
    CAST(COUNT(*) AS BIGINT), CAST(SUM(CASE WHEN ending IN ('failed', 'broken') THEN 1 ELSE 0 END) AS BIGINT),
    CAST(SUM(CASE WHEN ending = 'lost' THEN 1 ELSE 0 END) AS BIGINT),
    CAST(SUM(CASE WHEN basis = 'estimated' THEN 1 ELSE 0 END) AS BIGINT),
    CAST(SUM(CASE WHEN cost IS NULL THEN 1 ELSE 0 END) AS BIGINT), CAST(SUM(input) AS BIGINT),
    CAST(SUM(output) AS BIGINT), CAST(SUM(cache_read) AS BIGINT), CAST(SUM(cache_write) AS BIGINT),
    CAST(SUM(cache_write_1h) AS BIGINT), CAST(SUM(input_audio) AS BIGINT), CAST(SUM(input_image) AS BIGINT),
    CAST(SUM(reasoning) AS BIGINT), CAST(SUM(output_audio) AS BIGINT), CAST(SUM(output_image) AS BIGINT),
    CAST(SUM(searches) AS BIGINT), CAST(SUM(CASE WHEN searches > 0 THEN 1 ELSE 0 END) AS BIGINT),
    CAST(SUM(search_cost) AS BIGINT), CAST(COALESCE(SUM(cost), 0) AS BIGINT)
    FROM records WHERE at >= $1 AND at < $2 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"""
SPENT_OF_PROJECT = """SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM rollups
    WHERE width = $1 AND start >= $2 AND start < $3 AND project_id = $4"""
SPENT_OF_KEY = """SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM rollups
    WHERE width = $1 AND start >= $2 AND start < $3 AND key_id = $4"""
SPENT = """SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM rollups
    WHERE width = $1 AND start >= $2 AND start < $3"""
SPENT_BETWEEN_OF_PROJECT = """SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM records
    WHERE at >= $1 AND at < $2 AND project_id = $3"""
SPENT_BETWEEN_OF_KEY = """SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM records
    WHERE at >= $1 AND at < $2 AND key_id = $3"""
SPENT_BETWEEN = "SELECT CAST(COALESCE(SUM(cost), 0) AS BIGINT) FROM records WHERE at >= $1 AND at < $2"
RECORD = """SELECT at, id, request_id, ended_at, first_byte_ms, total_bucket, input, output, cost,
    first_bucket, cache_read, cache_write, cache_write_1h, input_audio, input_image, reasoning, output_audio,
    output_image, details, searches, search_cost, project_id, key_id, wire, operation, model, stream, provider,
    upstream_model, service_tier, ending, basis, status, code, price
    FROM records WHERE at = $1 AND id = $2"""
PLACE_OF_ID = "SELECT at, id FROM records WHERE at >= $1 AND at < $2 AND id = $3"
# Pages of records, newest first, from before an instant and an id. Unused filters are NULL.
PLACES = """SELECT at, id FROM records WHERE at >= $1 AND (at, id) < ($2, $3)
    AND (CAST($5 AS TEXT) IS NULL OR model = $5 OR upstream_model = $5)
    AND (CAST($6 AS TEXT) IS NULL OR provider = $6) AND (CAST($7 AS BIGINT) IS NULL OR status = $7)
    AND (CAST($8 AS TEXT) IS NULL OR ending = $8) AND (CAST($9 AS TEXT) IS NULL OR project_id = $9)
    ORDER BY at DESC, id DESC LIMIT $4"""
PLACES_OF_PROJECT = """SELECT at, id FROM records WHERE at >= $1 AND (at, id) < ($2, $3)
    AND (CAST($5 AS TEXT) IS NULL OR model = $5 OR upstream_model = $5)
    AND (CAST($6 AS TEXT) IS NULL OR provider = $6) AND (CAST($7 AS BIGINT) IS NULL OR status = $7)
    AND (CAST($8 AS TEXT) IS NULL OR ending = $8) AND project_id = $9
    ORDER BY at DESC, id DESC LIMIT $4"""
PLACES_OF_KEY = """SELECT at, id FROM records WHERE at >= $1 AND (at, id) < ($2, $3)
    AND (CAST($5 AS TEXT) IS NULL OR model = $5 OR upstream_model = $5)
    AND (CAST($6 AS TEXT) IS NULL OR provider = $6) AND (CAST($7 AS BIGINT) IS NULL OR status = $7)
    AND (CAST($8 AS TEXT) IS NULL OR ending = $8) AND (CAST($9 AS TEXT) IS NULL OR project_id = $9)
    AND key_id = $10 ORDER BY at DESC, id DESC LIMIT $4"""
PLACES_OF_ENDING = """SELECT at, id FROM records WHERE at >= $1 AND (at, id) < ($2, $3)
    AND (CAST($5 AS TEXT) IS NULL OR model = $5 OR upstream_model = $5)
    AND (CAST($6 AS TEXT) IS NULL OR provider = $6) AND (CAST($7 AS BIGINT) IS NULL OR status = $7)
    AND ending = $8 AND ending <> 'whole' AND (CAST($9 AS TEXT) IS NULL OR project_id = $9)
    AND (CAST($10 AS TEXT) IS NULL OR key_id = $10) ORDER BY at DESC, id DESC LIMIT $4"""
PLACES_OF_STATUS = """SELECT at, id FROM records WHERE at >= $1 AND (at, id) < ($2, $3)
    AND (CAST($5 AS TEXT) IS NULL OR model = $5 OR upstream_model = $5)
    AND (CAST($6 AS TEXT) IS NULL OR provider = $6) AND status = $7 AND status <> 200
    AND (CAST($8 AS TEXT) IS NULL OR ending = $8) AND (CAST($9 AS TEXT) IS NULL OR project_id = $9)
    AND (CAST($10 AS TEXT) IS NULL OR key_id = $10) ORDER BY at DESC, id DESC LIMIT $4"""
PLACES_OF_REQUEST = """SELECT at, id FROM records WHERE at >= $1 AND (at, id) < ($2, $3)
    AND (CAST($5 AS TEXT) IS NULL OR model = $5 OR upstream_model = $5)
    AND (CAST($6 AS TEXT) IS NULL OR provider = $6) AND (CAST($7 AS BIGINT) IS NULL OR status = $7)
    AND (CAST($8 AS TEXT) IS NULL OR ending = $8) AND (CAST($9 AS TEXT) IS NULL OR project_id = $9)
    AND (CAST($10 AS TEXT) IS NULL OR key_id = $10) AND request_id = $11 ORDER BY at DESC, id DESC LIMIT $4"""
NEWEST = "SELECT MAX(at) FROM records WHERE at >= $1 AND at <= $2"
# The newest hours, or days, that have calls of a kind. $8 and $9 are 1 for those with errors, and with lost ones.
HAVING_CALLS = """SELECT start FROM rollups WHERE width = $1 AND start >= $2 AND start < $3
    AND (CAST($4 AS TEXT) IS NULL OR model = $4 OR upstream_model = $4)
    AND (CAST($5 AS TEXT) IS NULL OR provider = $5) AND (CAST($6 AS TEXT) IS NULL OR project_id = $6)
    AND (CAST($7 AS TEXT) IS NULL OR key_id = $7) AND errors >= $8 AND lost >= $9
    GROUP BY start ORDER BY start DESC"""
OLDEST_AND_NEWEST = "SELECT MIN(at), MAX(at) FROM records"
TOTALS_OF_RECORDS = """SELECT COUNT(*), CAST(COALESCE(SUM(cost), 0) AS BIGINT),
    CAST(COALESCE(SUM(input + output + cache_read + cache_write + cache_write_1h + input_audio + input_image
    + reasoning + output_audio + output_image), 0) AS BIGINT) FROM records WHERE at >= $1 AND at < $2"""
TOTALS_OF_ROLLUPS = """SELECT CAST(COALESCE(SUM(requests), 0) AS BIGINT), CAST(COALESCE(SUM(cost), 0) AS BIGINT),
    CAST(COALESCE(SUM(input + output + cache_read + cache_write + cache_write_1h + input_audio + input_image
    + reasoning + output_audio + output_image), 0) AS BIGINT)
    FROM rollups WHERE width = $1 AND start >= $2 AND start < $3"""
PRUNE = """DELETE FROM records WHERE at < $1 AND (at, id) IN
    (SELECT at, id FROM records WHERE at < $1 ORDER BY at, id LIMIT $2)"""
SET_PRUNED_BEFORE = "UPDATE meta SET value = $1 WHERE name = 'pruned_before' AND value < $1"
OLDEST_KEPT = "SELECT at FROM records ORDER BY at DESC LIMIT 1 OFFSET $1"
