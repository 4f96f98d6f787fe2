"""The statements of `latency`, in SQL that both engines support. There is a column for each class of durations."""

COUNTS_OF_TIME = """SELECT at / (CAST($3 AS BIGINT) * 1000) * CAST($3 AS BIGINT), project_id, COALESCE(key_id, ''),
    model, upstream_model, provider, operation, COALESCE(service_tier, ''), total_bucket, first_bucket, COUNT(*)
    FROM records WHERE at >= $1 AND at < $2 AND total_bucket IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10"""
ADD = """INSERT INTO latencies (width, start, project_id, key_id, model, upstream_model, provider, operation,
    service_tier,
    total_0, total_1, total_2, total_3, total_4, total_5, total_6, total_7, total_8, total_9, total_10, total_11,
    total_12, total_13, total_14, total_15, total_16, total_17, total_18, total_19, total_20, total_21, total_22,
    total_23, first_0, first_1, first_2, first_3, first_4, first_5, first_6, first_7, first_8, first_9, first_10,
    first_11, first_12, first_13, first_14, first_15, first_16, first_17, first_18, first_19, first_20, first_21,
    first_22, first_23)
    VALUES (
    $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25,
    $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48,
    $49, $50, $51, $52, $53, $54, $55, $56, $57)
    ON CONFLICT (width, start, project_id, key_id, model, upstream_model, provider, operation, service_tier)
    DO UPDATE SET
    total_0 = latencies.total_0 + excluded.total_0, total_1 = latencies.total_1 + excluded.total_1,
    total_2 = latencies.total_2 + excluded.total_2, total_3 = latencies.total_3 + excluded.total_3,
    total_4 = latencies.total_4 + excluded.total_4, total_5 = latencies.total_5 + excluded.total_5,
    total_6 = latencies.total_6 + excluded.total_6, total_7 = latencies.total_7 + excluded.total_7,
    total_8 = latencies.total_8 + excluded.total_8, total_9 = latencies.total_9 + excluded.total_9,
    total_10 = latencies.total_10 + excluded.total_10, total_11 = latencies.total_11 + excluded.total_11,
    total_12 = latencies.total_12 + excluded.total_12, total_13 = latencies.total_13 + excluded.total_13,
    total_14 = latencies.total_14 + excluded.total_14, total_15 = latencies.total_15 + excluded.total_15,
    total_16 = latencies.total_16 + excluded.total_16, total_17 = latencies.total_17 + excluded.total_17,
    total_18 = latencies.total_18 + excluded.total_18, total_19 = latencies.total_19 + excluded.total_19,
    total_20 = latencies.total_20 + excluded.total_20, total_21 = latencies.total_21 + excluded.total_21,
    total_22 = latencies.total_22 + excluded.total_22, total_23 = latencies.total_23 + excluded.total_23,
    first_0 = latencies.first_0 + excluded.first_0, first_1 = latencies.first_1 + excluded.first_1,
    first_2 = latencies.first_2 + excluded.first_2, first_3 = latencies.first_3 + excluded.first_3,
    first_4 = latencies.first_4 + excluded.first_4, first_5 = latencies.first_5 + excluded.first_5,
    first_6 = latencies.first_6 + excluded.first_6, first_7 = latencies.first_7 + excluded.first_7,
    first_8 = latencies.first_8 + excluded.first_8, first_9 = latencies.first_9 + excluded.first_9,
    first_10 = latencies.first_10 + excluded.first_10, first_11 = latencies.first_11 + excluded.first_11,
    first_12 = latencies.first_12 + excluded.first_12, first_13 = latencies.first_13 + excluded.first_13,
    first_14 = latencies.first_14 + excluded.first_14, first_15 = latencies.first_15 + excluded.first_15,
    first_16 = latencies.first_16 + excluded.first_16, first_17 = latencies.first_17 + excluded.first_17,
    first_18 = latencies.first_18 + excluded.first_18, first_19 = latencies.first_19 + excluded.first_19,
    first_20 = latencies.first_20 + excluded.first_20, first_21 = latencies.first_21 + excluded.first_21,
    first_22 = latencies.first_22 + excluded.first_22, first_23 = latencies.first_23 + excluded.first_23"""
DROP_ROLLUPS = "DELETE FROM latencies WHERE start >= $1 AND start < $2"
SUMS_OF_ROLLUPS = """SELECT start,
    CASE WHEN $4 = 1 THEN project_id END, CASE WHEN $5 = 1 THEN key_id END, CASE WHEN $6 = 1 THEN model END,
    CASE WHEN $7 = 1 THEN upstream_model END, CASE WHEN $8 = 1 THEN provider END,
    CASE WHEN $9 = 1 THEN operation END, CASE WHEN $10 = 1 THEN service_tier END,
    CAST(SUM(total_0) AS BIGINT), CAST(SUM(total_1) AS BIGINT), CAST(SUM(total_2) AS BIGINT),
    CAST(SUM(total_3) AS BIGINT), CAST(SUM(total_4) AS BIGINT), CAST(SUM(total_5) AS BIGINT),
    CAST(SUM(total_6) AS BIGINT), CAST(SUM(total_7) AS BIGINT), CAST(SUM(total_8) AS BIGINT),
    CAST(SUM(total_9) AS BIGINT), CAST(SUM(total_10) AS BIGINT), CAST(SUM(total_11) AS BIGINT),
    CAST(SUM(total_12) AS BIGINT), CAST(SUM(total_13) AS BIGINT), CAST(SUM(total_14) AS BIGINT),
    CAST(SUM(total_15) AS BIGINT), CAST(SUM(total_16) AS BIGINT), CAST(SUM(total_17) AS BIGINT),
    CAST(SUM(total_18) AS BIGINT), CAST(SUM(total_19) AS BIGINT), CAST(SUM(total_20) AS BIGINT),
    CAST(SUM(total_21) AS BIGINT), CAST(SUM(total_22) AS BIGINT), CAST(SUM(total_23) AS BIGINT),
    CAST(SUM(first_0) AS BIGINT), CAST(SUM(first_1) AS BIGINT), CAST(SUM(first_2) AS BIGINT),
    CAST(SUM(first_3) AS BIGINT), CAST(SUM(first_4) AS BIGINT), CAST(SUM(first_5) AS BIGINT),
    CAST(SUM(first_6) AS BIGINT), CAST(SUM(first_7) AS BIGINT), CAST(SUM(first_8) AS BIGINT),
    CAST(SUM(first_9) AS BIGINT), CAST(SUM(first_10) AS BIGINT), CAST(SUM(first_11) AS BIGINT),
    CAST(SUM(first_12) AS BIGINT), CAST(SUM(first_13) AS BIGINT), CAST(SUM(first_14) AS BIGINT),
    CAST(SUM(first_15) AS BIGINT), CAST(SUM(first_16) AS BIGINT), CAST(SUM(first_17) AS BIGINT),
    CAST(SUM(first_18) AS BIGINT), CAST(SUM(first_19) AS BIGINT), CAST(SUM(first_20) AS BIGINT),
    CAST(SUM(first_21) AS BIGINT), CAST(SUM(first_22) AS BIGINT), CAST(SUM(first_23) AS BIGINT)
    FROM latencies WHERE width = $1 AND start >= $2 AND start < $3 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8"""
