"""The SQL functions a question may use. What is not named here is refused, so a new release brings no new hole.

Left out on purpose: everything that reads files, settings, the environment or the catalogue, writes logs, sleeps,
runs SQL out of a text, or hands out system facts (version, current_user). What only costs time or memory stays in:
the child's limits are for that.
"""

from __future__ import annotations

AGGREGATES = """
any_value approx_count_distinct approx_quantile arbitrary arg_max arg_min argmax argmin array_agg avg bool_and bool_or
corr count count_if count_star countif covar_pop covar_samp entropy favg first fsum geomean geometric_mean group_concat
histogram kurtosis kurtosis_pop last list listagg mad max max_by mean median min min_by mode product quantile
quantile_cont quantile_disc regr_avgx regr_avgy regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy
sem skewness stddev stddev_pop stddev_samp string_agg sum sumkahan var_pop var_samp variance wavg weighted_avg
cume_dist dense_rank fill first_value lag last_value lead nth_value ntile percent_rank rank rank_dense row_number
"""
NUMBERS = """
abs acos asin atan atan2 cbrt ceil ceiling cos cot degrees div divide even exp factorial fdiv floor fmod gcd greatest
isfinite isinf isnan lcm least ln log log10 log2 mod multiply pi pow power radians round round_even sign sin sqrt
subtract tan trunc add random setseed
"""
TEXTS = """
array_to_string ascii bar chr concat concat_ws contains damerau_levenshtein editdist3 ends_with format hamming
ilike_escape instr jaccard jaro_similarity jaro_winkler_similarity lcase left len length levenshtein like_escape lower
lpad ltrim md5 nfc_normalize not_ilike_escape not_like_escape ord position prefix printf regexp_escape regexp_extract
regexp_extract_all regexp_full_match regexp_matches regexp_replace regexp_split_to_array repeat replace reverse right
rpad rtrim split split_part starts_with str_split string_split string_to_array strip_accents strlen strpos substr
substring suffix translate trim ucase unicode upper
"""
DATES = """
age century date_add date_diff date_part date_sub date_trunc datediff datepart datesub datetrunc day dayname dayofmonth
dayofweek dayofyear days_in_month decade epoch epoch_ms hour isodow isoyear julian last_day make_date make_time
make_timestamp microsecond millisecond minute month monthname quarter second strftime strptime time_bucket
to_centuries to_days to_decades to_hours to_minutes to_months to_quarters to_seconds to_weeks to_years
today try_strptime week weekday weekofyear year yearweek current_date current_localtimestamp
"""
REST = """
array_contains array_length array_value cardinality coalesce constant_or_null element_at generate_series
hash if ifnull list_aggregate list_any_value list_avg list_concat list_contains list_count list_distinct list_element
list_extract list_filter list_has list_max list_median list_min list_pack list_position list_slice list_sort list_sum
list_transform list_unique list_value list_zip map map_entries map_extract map_from_entries map_keys map_values
nullif range row struct_extract struct_pack typeof unnest
"""
OPERATORS = """
! !__postfix !~~ !~~* % & * ** + - / // ^ ^@ __between | || ~ ~~ ~~* ~~~ << >> = < > <= >= != <>
"""
ALLOWED = frozenset(" ".join((AGGREGATES, NUMBERS, TEXTS, DATES, REST, OPERATORS)).split())

# Functions that make rows out of nothing, the only ones that may stand after FROM.
ROW_MAKERS = frozenset({"range", "generate_series", "unnest"})
