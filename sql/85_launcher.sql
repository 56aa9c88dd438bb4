-- What the launcher does in each database, besides starting workers: needs pg_encrypt in shared_preload_libraries.

-- Only versions of purpose column: tokens under a new index key would have to be made anew, which a unique constraint may
-- forbid, and somebody has to decide.
create function encrypt._rotate_due_key(key text) returns integer
    language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as
$$
declare
    job integer;
begin
    if not exists (select from encrypt.key_status s where s.name = key and s.purpose = 'column' and s.rotation_due) then
        return null;
    end if;
    -- One after the other: what is still to be moved from the version before would be moved twice. After a failure somebody
    -- has to look first, or there would be a new version every time that fails the same way.
    if (select j.ended_at is null or j.state = 'failed' from encrypt.jobs j
        where j.kind = 'reencrypt' and j.subject = key order by j.job_id desc limit 1) then
        return null;
    end if;
    perform encrypt.rotate_key(key);
    job := encrypt.start_reencryption(key);
    -- The launcher starts it when this is committed.
    update encrypt.jobs set workers = 1 where job_id = job;
    return job;
end
$$;
comment on function encrypt._rotate_due_key(text) is 'rotates a key that is due, and makes the job that re-encrypts';

-- why: rotates keys without asking who calls
revoke all on function encrypt._rotate_due_key(text) from public;
