-- After each client: what it stored is shown as ciphertext where plaintext is hidden, and its searches can use the index.
-- Says "ok", or what is wrong.

set pg_encrypt.reveal = off;
set enable_seqscan = off;
set plan_cache_mode = force_generic_plan;
prepare search (text) as select id from users where email = $1;

create function pg_temp.plan(statement text) returns text language plpgsql as $$
declare
    line text;
    plan text := '';
begin
    for line in execute 'explain (costs off) ' || statement loop
        plan := plan || line || E'\n';
    end loop;
    return plan;
end
$$;

-- A cast to text would decrypt; format() calls the output function.
select case
    when count(*) = 0 then 'the client stored nothing'
    when not bool_and(format('%s', email) like '\\xe3%') then 'plaintext is visible'
    when pg_temp.plan('execute search (''x'')') !~ 'Scan using users_email_key' then 'no index scan'
    else 'ok'
end
from users;
