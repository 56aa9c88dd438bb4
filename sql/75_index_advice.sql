-- What an equality index on a column would tell, before anyone builds it.

create function encrypt.index_advice(
    target regclass,
    "column" name,
    out rows bigint,
    out distinct_values bigint,
    out top_share double precision,
    out entropy_bits double precision,
    out recommended_bits integer,
    out searchable boolean,
    out reason text
)
    -- INVOKER: it reads the caller's table with the caller's rights. Nothing of a value comes out of it.
    language plpgsql stable parallel unsafe set search_path = pg_catalog, pg_temp as
$$
declare
    column_type regtype;
    expected_collisions constant double precision := 0.01;
begin
    select a.atttypid::regtype into column_type
    from pg_attribute a
    where a.attrelid = target and a.attname = "column" and a.attnum > 0 and not a.attisdropped;
    if column_type is null then
        raise exception using
            errcode = 'undefined_column',
            message = format('column "%s" of table %s does not exist', "column", target);
    end if;

    -- Shannon entropy of the distribution of values: how much an observer who sees the frequency of tokens, and knows
    -- the distribution from elsewhere, still has to guess.
    execute format(
        'select coalesce(sum(n), 0)::bigint, count(*), coalesce(max(n) / sum(n), 0)::double precision,
                coalesce(-sum((n / total) * ln(n / total)) / ln(2.0), 0)::double precision
         from (select count(*)::numeric as n, sum(count(*)) over () as total
               from %s where %I is not null group by %I) as groups',
        target, "column", "column")
    into rows, distinct_values, top_share, entropy_bits;

    -- Tokens of b bits (8 of them the key's version) among n values: n^2 / 2^(b - 7) pairs collide by chance.
    recommended_bits := least(256, greatest(64, 8 * ceil(
        (2 * log(2, greatest(distinct_values, 2)::numeric) + 7 + log(2, (1 / expected_collisions)::numeric)) / 8)));
    searchable := false;
    reason := case
        when column_type = 'boolean'::regtype then 'two values: the tokens would show which rows are equal, so which is which'
        when distinct_values = 0 then 'no values to judge by'
        when distinct_values < 100 then
            format('only %s different values: whoever knows how they are distributed recognises them', distinct_values)
        when top_share > 0.05 then
            format('one value has %s %% of the rows and would be recognised', round((100 * top_share)::numeric, 1))
        when entropy_bits < 10 then
            format('the distribution has %s bits of entropy: frequent values would be recognised',
                   round(entropy_bits::numeric, 1))
    end;
    if reason is null then
        searchable := true;
        reason := format('%s different values, the most frequent one in %s %% of the rows', distinct_values,
                         round((100 * top_share)::numeric, 3));
    end if;
end
$$;
comment on function encrypt.index_advice(regclass, name) is
    'whether a column''s values are varied enough for a blind index or a searchable type, and how many bits a token needs';
